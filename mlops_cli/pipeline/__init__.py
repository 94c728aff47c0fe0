"""One function per stage: load files, call rooms, save files, tell the tracker."""
