"""What the nightly pass keeps of health and of troubles between its passes."""
