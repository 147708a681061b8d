"""The test suite: what a user could see, on real sockets and files where the fault would lie there."""
