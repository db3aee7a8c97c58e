"""The codec: rolling-hash chunk caches; knows nothing of sockets."""
