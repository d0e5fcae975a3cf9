"""The paper's tables as one chain of commands: partition, train, evaluate, classify, report."""
