"""What is always there: the icon, its menu, its notifications, and the window in their place."""
