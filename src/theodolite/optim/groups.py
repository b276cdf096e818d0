"""What may a group of parameters hold, and where does an optimizer remember its run?"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from theodolite.errors import SettingError
from theodolite.linalg.settings import check_tolerance

Group = Mapping[str, Any]
"""An entry of ``param_groups``."""

_FOREIGN = ("amsgrad", "betas", "dampening", "differentiable", "maximize", "momentum", "nesterov", "weight_decay")
"""Settings of torch's optimizers that change the step there; here they would be passed over in silence."""

_OWN = ("lr", "initial_lr", "params", "param_names")
"""What groups may differ in; ``initial_lr`` is written by schedulers."""


class GroupedOptimizer(torch.optim.Optimizer):
    """An optimizer with one step for all parameters, whose groups differ in ``lr`` and nothing else."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters, which may have its own ``lr`` and nothing else.

        Args:
            param_group: The group; settings that it leaves out are those of the first group.

        Raises:
            SettingError: If a setting differs from that of all groups or has no meaning here, lr is out of range, or a
                parameter is complex or sparse.
        """
        first = self.param_groups[0] if self.param_groups else self.defaults
        super().add_param_group({**shared_settings(first, self.defaults), **param_group})
        try:
            check_group(self.param_groups[-1], first)
        except SettingError:
            self.param_groups.pop()
            raise


def check_group(group: Group, settings: Group) -> None:
    """Complain of a group that cannot be trained, or that asks for a step of its own.

    Args:
        group: The group, with all settings.
        settings: What all groups share: the first group, or the defaults.

    Raises:
        SettingError: If lr is out of range, a parameter is complex or sparse, a setting has no meaning here, or one
            but lr differs from that of the other groups.
    """
    check_tolerance("lr", group["lr"])
    for tensor in group["params"]:
        if tensor.is_complex() or tensor.layout != torch.strided:
            raise SettingError(
                f"parameters must be real and dense, got one of {tensor.dtype} and {tensor.layout}. Hold real and "
                "imaginary part, or the entries that are not zero, as parameters of their own."
            )
    for name in _FOREIGN:
        if group.get(name):
            raise SettingError(
                f"{name} must be left out, since this step has none, got {group[name]!r}. Put a penalty, or a sign, "
                "into the loss."
            )
    for name, value in settings.items():
        if name not in _OWN and name in group and group[name] != value:
            raise SettingError(
                f"{name} must be the same in all groups, since one step is formed for all parameters, got "
                f"{group[name]!r} beside {value!r}. Groups may differ in lr."
            )


def shared_settings(group: Group, names: Iterable[str]) -> dict[str, Any]:
    """The settings of a group that all groups share.

    Args:
        group: The group.
        names: Names of all settings.

    Returns:
        Those but lr.
    """
    return {name: group[name] for name in names if name in group and name != "lr"}


def run_memory(groups: Iterable[Group], state: Mapping[Tensor, Any]) -> dict[str, Any]:
    """What is remembered of the run as a whole; it stands at the first parameter, as with LBFGS.

    Args:
        groups: All groups, some perhaps empty.
        state: The state of the optimizer, which makes what is missing.

    Returns:
        The memory, to be read and written; nothing that lasts, where there is no parameter.
    """
    first = next((tensor for group in groups for tensor in group["params"]), None)
    memory: dict[str, Any] = {} if first is None else state[first]
    return memory


def each_once(group: Group) -> list[Tensor]:
    """The parameters of a group, each once: tied ones may be listed twice.

    Args:
        group: The group.

    Returns:
        The parameters in order.
    """
    return list(dict.fromkeys(group["params"]))
