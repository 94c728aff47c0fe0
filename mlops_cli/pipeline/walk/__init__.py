"""Walk-forward: models that are trained again while a scenario goes on."""
