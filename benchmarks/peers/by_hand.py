"""Ten lines of autograd with the graph kept: what there is no way around."""

import torch
from models import Case, classify
from peers.candidates import Candidate, Package, Products, parameters


def by_hand(case: Case) -> Products:
    tensors = parameters(case)
    graph = torch.autograd.grad(classify(case.model, case.batch), tensors, create_graph=True)
    return lambda v: torch.autograd.grad(graph, tensors, v, retain_graph=True)


NAME = "autograd by hand, graph kept, kernels switched"
PACKAGE = Package(NAME, hessian=Candidate(NAME, by_hand, takes_lists=True, is_helped=True))
