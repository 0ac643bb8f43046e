"""The worker: the process that holds torch. Everything here imports torch; nothing torch-free imports it."""
