"""Records of limited requests: written in the background, reviewed and rolled up."""
