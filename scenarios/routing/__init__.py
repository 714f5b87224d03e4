"""Which FIB serves a packet: reaching the server, being answered, being refused."""
