"""The network: PyTorch, for learning only."""

import torch
from torch import nn


class Net(nn.Module):
    """From a row's codes and numbers to the logit of being late.

    Args:
        sizes: how many codes each column of codes has.
        numbers: how many columns of numbers there are.
        width: units of a hidden layer.
    """

    def __init__(self, sizes, numbers, width):
        super().__init__()
        dims = [min(24, 1 + size // 2) for size in sizes]
        self.embeddings = nn.ModuleList(nn.Embedding(size, dim) for size, dim in zip(sizes, dims, strict=True))
        layers = []
        for inputs in (sum(dims) + numbers, width):
            layers += [nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(0.1)]
        self.layers = nn.Sequential(*layers, nn.Linear(width, 1))

    def forward(self, codes, numbers):
        parts = [embedding(codes[:, place]) for place, embedding in enumerate(self.embeddings)]
        return self.layers(torch.cat([*parts, numbers], dim=1)).squeeze(1)

    def to_onnx(self):
        """The network as serving has it: ONNX, for any number of rows. The file's bytes."""
        example = (torch.zeros(2, len(self.embeddings), dtype=torch.int64), torch.zeros(2, self.numbers()))
        rows = torch.export.Dim.DYNAMIC
        program = torch.onnx.export(
            self.cpu().eval(), example, dynamo=True, verbose=False, input_names=["codes", "numbers"], output_names=["logit"],
            dynamic_shapes=({0: rows}, {0: rows}),
        )  # fmt: skip
        model = program.model_proto
        for node in model.graph.node:
            node.ClearField("metadata_props")  # which line of which file it comes from
        return model.SerializeToString()

    def numbers(self):
        return self.layers[0].in_features - sum(embedding.embedding_dim for embedding in self.embeddings)
