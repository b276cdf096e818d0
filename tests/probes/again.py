"""A list of tensors is one batch; this is several batches."""


class Again:
    def __init__(self, batches):
        self.batches = list(batches)

    def __iter__(self):
        return iter(self.batches)
