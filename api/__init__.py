"""Every way in and out: request files, command line, HTTP. Computes nothing itself."""
