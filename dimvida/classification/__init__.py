"""Do generated views improve classification? Classifiers with and without them, in training and at test time."""
