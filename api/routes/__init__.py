"""Routes, one noun a file. They translate; they compute nothing."""
