"""The admin pages and the HTTP API; talks only to the control socket."""
