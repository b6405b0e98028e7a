"""What agents learn from: the replay that a config asks for, and random changes of its images."""
