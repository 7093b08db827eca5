"""What lies below the windows: the loop, the life of Qt's objects, and the system around us."""
