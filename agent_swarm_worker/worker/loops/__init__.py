"""What a worker does side by side for as long as it lives: poll, heartbeat, flush, shut down."""
