"""The command line `gradcheck-rnn`."""
