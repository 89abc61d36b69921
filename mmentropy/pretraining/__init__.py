"""Pre-training on any folder of images, with settings chosen by rules."""
