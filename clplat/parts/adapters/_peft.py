"""What all weight adapters of PEFT share: attach, switch, merge, save and load."""

from __future__ import annotations

import inspect
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from clplat.errors import UserError, unknown_name
from clplat.files import is_as_written, read_json, write_json
from clplat.mechanisms.parameter_groups import Group
from clplat.models.backbone import Backbone
from clplat.parts.adapters._base import Adapter
from clplat.parts.adapters._draws import draw_when_used
from clplat.parts.adapters._economy import Kept, economy
from clplat.parts.adapters._methods import METHODS, Method
from clplat.parts.adapters._options import B_RATE, OWN, config_class, nested_class
from clplat.parts.adapters._pissa import as_lora, first_half
from clplat.parts.adapters._state import PeftState
from clplat.parts.adapters._targets import check_rank, pattern, resolve
from clplat.parts.adapters._wrapping import digest_of, flags_of, forget, layers, quiet, train_only_new, undo
from clplat.trees import save_tensors

__all__ = ["CONFIG", "NOTE", "PeftAdapter"]

_NAME = re.compile(r"[A-Za-z0-9_-]+")
CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
#: Our own file beside those of PEFT: method, options and base.
NOTE = "clplat.json"
# What PEFT raises for values and layers that do not go together.
_PEFT_ERRORS = (
    AssertionError,
    AttributeError,
    IndexError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    TypeError,
)


class PeftAdapter(Adapter):
    """What all weight adapters share. Several of one method can be attached under different names.

    Attributes:
        options: the values of all constructor arguments.
    """

    #: The row of `METHODS`.
    method: ClassVar[str]
    #: How far attaching may move normalised features, where it is not the identity.
    tolerance: ClassVar[float] = 0.0

    def __init__(self, **options: Any) -> None:
        self.options = options
        row = METHODS[self.method]
        if options["towers"] not in ("both", "image", "text"):
            raise ValueError(f"towers is '{options['towers']}'; allowed: both, image, text")
        if isinstance(options["targets"], str) and options["targets"] not in row.kinds:
            raise ValueError(
                f"targets is '{options['targets']}'; allowed: {', '.join(row.kinds)}, or a list of modules"
            )
        if not options.get(B_RATE, 1.0) > 0:
            raise ValueError(f"{B_RATE} must be above 0, not {options[B_RATE]}")
        self._config(["any"])  # PEFT checks the values now, not after the model is loaded

    def __repr__(self) -> str:
        default = inspect.signature(type(self)).parameters
        changed = [f"{key}={value!r}" for key, value in self.options.items() if value != default[key].default]
        return f"{type(self).__name__}({', '.join(changed)})"

    def attach(self, backbone: Backbone, name: str = "default") -> list[str]:
        """Install the adapter and make it the active one; adapters attached before it are frozen.

        Raises:
            UserError: the name is taken or not allowed, a target matches nothing or is never called, the base
                carries another method or was rewritten, or PEFT refuses the layers.
        """
        return self._attach(backbone, name, METHODS[self.method].kept)

    def _attach(self, backbone: Backbone, name: str, kept: Kept | None) -> list[str]:
        import peft

        row = METHODS[self.method]
        self._check(backbone, name, row)
        rank = self.options.get("r", self.options.get("init_r"))
        targets = resolve(backbone, self.options["targets"], self.options["towers"], self.options["last"])
        check_rank(backbone, targets, rank)
        base = digest_of(backbone, targets) if row.rewrites_base else None
        base_weights = {}
        if row.rewrites_base:
            # All but OLoRA put a new tensor in the place of a weight, and leave the old one as it is.
            in_place = row.kept == "first columns"
            base_weights = {
                key: value.clone() if in_place else value
                for key, value in backbone.base_state().items()
                if key.rpartition(".")[0] in targets
            }
        before = flags_of(backbone)
        state = backbone.adapters
        try:
            with quiet(), economy(kept, rank) as made:
                if isinstance(state, PeftState):
                    for earlier in state.peft_model.peft_config.values():
                        earlier.inference_mode = True  # AdaLoRA refuses a second one that is trained
                    state.peft_model.add_adapter(name, self._config(targets))
                    # `activate(None)` may have switched them off.
                    state.peft_model.base_model.enable_adapter_layers()
                    state.peft_model.set_adapter(name)
                else:
                    state = PeftState(
                        peft.get_peft_model(backbone.model, self._config(targets), adapter_name=name)
                    )
        except (*_PEFT_ERRORS, ValueError) as error:
            undo(backbone, name, before, base_weights)
            raise UserError(f"{row.name} cannot wrap backbone '{backbone.name}': {error}") from error
        backbone.adapters = state
        state.installed[name] = {
            "method": self.method,
            "options": self.options,
            "targets": targets,
            "base": base,
        }
        state.begin_with(name)
        state.rewritten_by = name if row.rewrites_base else None
        if row.rewrites_base and made.iterated:
            start = peft.get_peft_model_state_dict(state.peft_model, adapter_name=name)
            state.starts[name] = {key: value.detach().clone() for key, value in start.items()}

        if self.method == "monteclora":
            draw_when_used(layers(backbone), name)
        trained = train_only_new(backbone, before)
        for layer in layers(backbone):
            layer.train(backbone.training)
        return trained

    def groups(self, names: Sequence[str]) -> Sequence[Group]:
        """LoRA+: B learns faster than A."""
        factor = self.options.get(B_RATE, 1.0)
        return [Group([name for name in names if ".lora_B." in name], factor)] if factor != 1.0 else []

    def activate(self, backbone: Backbone, name: str | None) -> None:
        """Use the adapter ``name`` from now on, or with None the bare base; no ``requires_grad`` changes."""
        state = backbone.adapters
        if name == state.active and len(state.together) < 2:
            return
        if not isinstance(state, PeftState) or (name is not None and name not in state.installed):
            raise unknown_name("attached adapter", name or "", state.installed)
        if name is None and state.rewritten_by is not None:
            raise UserError(
                f"attaching '{state.rewritten_by}' rewrote the base weights: there is no bare base"
            )
        state.switch(name)

    def merge(self, backbone: Backbone) -> None:
        """Fold the adapters in use into the base weights and drop all others: stock layers again.

        Raises:
            UserError: none is active, its method cannot be merged, or it holds NaN or infinity.
        """
        state, name = backbone.adapters, backbone.adapters.active
        if not isinstance(state, PeftState) or name is None:
            raise UserError("no adapter is active, so there is nothing to merge")
        row = METHODS[state.installed[name]["method"]]
        if not row.mergeable:
            raise UserError(f"{row.name} cannot be merged into the base weights")
        for one in state.used:
            for key, tensor in backbone.adapter_state(one).items():
                if not bool(torch.isfinite(tensor).all()):
                    raise UserError(
                        f"adapter '{one}' is not finite ({key}): merging it would destroy the base"
                    )
        flags = flags_of(backbone)
        with quiet():
            state.peft_model.base_model.merge_and_unload(adapter_names=[*state.used])
        forget(backbone, flags)

    def save(self, backbone: Backbone, folder: Path, name: str = "default") -> None:
        """Write the attached adapter ``name`` as a PEFT adapter folder, with a note of its base."""
        import peft

        state = backbone.adapters
        if not isinstance(state, PeftState) or name not in state.installed:
            raise unknown_name("attached adapter", name, state.installed)
        folder, entry = Path(folder), state.installed[name]
        tensors = peft.get_peft_model_state_dict(state.peft_model, adapter_name=name)
        # Cloned, because layers share some of them and safetensors refuses shared memory.
        tensors = {key: value.detach().cpu().clone().contiguous() for key, value in tensors.items()}
        with tempfile.TemporaryDirectory() as scratch:
            state.peft_model.peft_config[name].save_pretrained(scratch)
            config = read_json(Path(scratch) / CONFIG)
        start = state.starts.get(name)
        if start is not None and entry["method"] == "pissa":
            tensors, config = as_lora(tensors, start, config)
        save_tensors(folder / _WEIGHTS, tensors, {"format": "pt"})
        write_json(folder / CONFIG, config, checksum=False)
        base = entry["base"] or digest_of(backbone, entry["targets"])
        note = {"schema": 1, "method": entry["method"], "options": entry["options"], "base": base}
        write_json(folder / NOTE, note | ({"iterated": True} if start is not None else {}))

    def restore(
        self, backbone: Backbone, folder: Path, name: str, base: str | None = None, iterated: bool = False
    ) -> None:
        """Attach this adapter with the weights that `save`, or PEFT itself, wrote to a folder.

        Args:
            base: digest of the base weights that they were trained on; none is known of PEFT's folders.
            iterated: what attaching took out of the base was found by iteration; PEFT decomposes it whole.

        Raises:
            UserError: the weights are missing or damaged, or the base is another one.
        """
        import peft

        targets = resolve(backbone, *(self.options[key] for key in OWN))
        if base is not None and digest_of(backbone, targets) != base:
            raise UserError(
                f"{folder} was trained on other base weights than those of backbone '{backbone.name}'"
            )
        try:
            if not is_as_written(folder / _WEIGHTS):
                raise OSError("it is damaged, these are not the bytes that were written")
            tensors = load_file(folder / _WEIGHTS)
        except (OSError, SafetensorError) as error:
            pickled = "; pickled weights are not read" if any(folder.glob("*.bin")) else ""
            raise UserError(f"{folder / _WEIGHTS} is not readable: {error}{pickled}") from error
        row = METHODS[self.method]
        whole = row.rewrites_base and row.kept != "first columns" and not iterated
        with torch.random.fork_rng(devices=[]):
            self._attach(backbone, name, None if whole else row.kept)
        if iterated and self.method == "pissa":
            tensors = first_half(tensors)
        peft_model = cast("PeftState", backbone.adapters).peft_model
        own = peft.get_peft_model_state_dict(peft_model, adapter_name=name)
        wrong = sorted(own.keys() ^ tensors.keys()) or [k for k in own if own[k].shape != tensors[k].shape]
        if wrong:
            raise UserError(f"{folder / _WEIGHTS} does not fit its own configuration: {wrong[0]}")
        with quiet():
            peft.set_peft_model_state_dict(peft_model, tensors, adapter_name=name)

    def _check(self, backbone: Backbone, name: str, row: Method) -> None:
        taken = hasattr(nn.ModuleDict, name) or hasattr(nn.ParameterDict, name)
        if taken or not _NAME.fullmatch(name) or any(name in key.split(".") for key in backbone.base_keys):
            raise UserError(
                f"'{name}' cannot name an adapter: letters, digits, _, -; no name of torch or the model"
            )
        installed, rewritten_by = backbone.adapters.installed, backbone.adapters.rewritten_by
        if name in installed:
            raise UserError(f"an adapter '{name}' is attached already (attached: {', '.join(installed)})")
        if rewritten_by is not None:
            raise UserError(f"attaching '{rewritten_by}' rewrote the base weights: merge it first")
        for other, entry in installed.items():
            if row.rewrites_base:
                raise UserError(
                    f"{row.name} rewrites the base weights, on which '{other}' sits: merge it first"
                )
            if METHODS[entry["method"]].config != row.config:
                raise UserError(f"'{other}' is attached, of another kind ({entry['method']}): merge it first")

    def _config(self, targets: list[str]) -> Any:
        """PEFT's configuration for these modules and no others."""
        row = METHODS[self.method]
        values = {key: value for key, value in self.options.items() if key not in (*OWN, B_RATE)} | dict(
            row.fixed
        )
        values["target_modules"] = pattern(targets)
        if row.config == "IA3Config":  # where the input is scaled, not the output
            values["feedforward_modules"] = pattern([t for t in targets if t.endswith(("c_proj", "fc2"))])
        try:
            if row.nested is not None:
                inner = nested_class(row)
                known = inspect.signature(inner).parameters
                values[row.nested[0]] = inner(
                    **{key: values.pop(key) for key in list(values) if key in known}
                )
            with quiet():
                return config_class(row)(**values)
        except (TypeError, ValueError) as error:
            raise ValueError(str(error)) from error
