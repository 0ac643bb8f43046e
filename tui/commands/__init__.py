"""What each command does, without a screen. Each module is imported when its command is typed."""
