"""What is installed and watched: generators of files that are committed beside them."""
