"""The shapes of requests and answers. Nothing here computes."""
