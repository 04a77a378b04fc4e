"""The model: a small neural network on flights as they are. Codes (of airlines, airports, aircraft) have embeddings.

A plain function: it runs in a notebook or a test as it does in a pipeline. PyTorch learns it on a GPU, on several (in a
process for each, as ``torchrun`` starts them) or on the CPU. What it returns answers by ONNX Runtime, without PyTorch, and
takes a row as the features have it, so the endpoint is asked with ``"carrier": "UA"``.
"""

import math
import os

import torch
import torch.distributed as distributed
from net import Net
from served import Encoder, Exported
from torch.nn.functional import binary_cross_entropy_with_logits as loss_of
from torch.nn.parallel import DistributedDataParallel


def train(dataset, params):
    """Learn from ``dataset.train`` (``X`` features, ``y`` label) and watch ``dataset.holdout`` meanwhile.

    Args:
        params: ``epochs``, ``width``, ``batch``, ``learning_rate``, and ``device``: ``cpu`` or ``cuda``.
    """
    encoder, net, curve = learn(dataset, params)
    if int(os.environ.get("RANK", 0)):
        return None  # the first process answers for all
    return Exported(encoder, net.to_onnx(), curve)


def learn(dataset, params):
    """The network, on the CPU; what makes numbers of rows for it; its loss on train and holdout, epoch by epoch."""
    device = place(params.get("device", "cpu"))
    encoder = Encoder().fit(dataset.train.X)
    rows, held = tensors(encoder, dataset.train, device), tensors(encoder, dataset.holdout, device)
    torch.manual_seed(0)
    net = Net(encoder.sizes, rows[1].shape[1], params.get("width", 128)).to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=params.get("learning_rate", 0.002))
    first, curve = resumed(dataset, net, optimizer, device)
    parallel = net if world() == 1 else DistributedDataParallel(net, None if device.type == "cpu" else [device.index])
    epochs = params.get("epochs", 8)
    for epoch in range(first, epochs):
        optimizer.param_groups[0]["lr"] = params.get("learning_rate", 0.002) * (1 + math.cos(math.pi * epoch / epochs)) / 2
        curve["train"]["loss"].append(one_epoch(parallel, optimizer, rows, params.get("batch", 2048), epoch))
        curve["holdout"]["loss"].append(measured(net, held))
        if rank() == 0:
            print(f"Epoch {epoch + 1}: loss {curve['train']['loss'][-1]:.4f}, holdout {curve['holdout']['loss'][-1]:.4f}")
            keep(dataset, net, optimizer, epoch + 1, curve)
    if world() > 1:
        distributed.destroy_process_group()
    return encoder, net.cpu().eval(), curve


def place(device):
    """Where this process learns; it joins the others first."""
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        torch.cuda.set_device(device)
    if "WORLD_SIZE" in os.environ:  # by torchrun
        distributed.init_process_group("gloo" if device == "cpu" else "nccl")
    name = torch.cuda.get_device_name(device) if device != "cpu" else f"the CPU, {torch.get_num_threads()} threads"
    print(f"Learning on {name}, process {rank() + 1} of {world()}")
    return torch.device(device)


def rank():
    return distributed.get_rank() if distributed.is_initialized() else 0


def world():
    return distributed.get_world_size() if distributed.is_initialized() else 1


def tensors(encoder, part, device):
    """All rows on the device: codes, numbers, labels."""
    codes, numbers = encoder.transform(part.X)
    labels = torch.tensor(part.y.to_numpy(), dtype=torch.float32)
    return torch.tensor(codes, device=device), torch.tensor(numbers, device=device), labels.to(device)


def one_epoch(net, optimizer, rows, batch, epoch):
    """Every row once, in an order and with a dropout that the epoch decides: what goes on after a break is the same. Of
    several processes each takes its share of a batch. The mean loss of this process's rows."""
    codes, numbers, labels = rows
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(epoch))
    mine = order[: len(order) // world() * world()][rank() :: world()].to(labels.device)
    torch.manual_seed(epoch * world() + rank())
    net.train()
    total = torch.zeros((), device=labels.device)
    for some in mine.split(max(1, batch // world())):
        loss = loss_of(net(codes[some], numbers[some]), labels[some])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.detach() * len(some)
    return (total / len(mine)).item()


@torch.no_grad()
def measured(net, rows):
    net.eval()
    codes, numbers, labels = rows
    return loss_of(net(codes, numbers), labels).item()


def keep(dataset, net, optimizer, epochs, curve):
    """For the next try, if this one is ended: a killed process, a lost node."""
    checkpoint = getattr(dataset, "checkpoint", None)
    if checkpoint:
        state = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "epochs": epochs, "curve": curve}
        torch.save(state, checkpoint.folder / "state.pt")
        checkpoint.saved()


def resumed(dataset, net, optimizer, device):
    """Take what an earlier try has left: how many epochs are done, and their curve."""
    checkpoint = getattr(dataset, "checkpoint", None)
    file = checkpoint.folder / "state.pt" if checkpoint else None
    if not (file and file.exists()):
        return 0, {"train": {"loss": []}, "holdout": {"loss": []}}
    state = torch.load(file, map_location=device, weights_only=True)
    net.load_state_dict(state["net"])
    optimizer.load_state_dict(state["optimizer"])
    if rank() == 0:
        print(f"Resumed from epoch {state['epochs']}")
    return state["epochs"], state["curve"]
