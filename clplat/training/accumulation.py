"""A batch larger than memory, in parts that all see the whole batch's negatives.

A contrastive loss does not split: every query is contrasted with the candidates of the whole batch, so that
summing the gradients of small batches is another, easier loss. But it depends on the towers only through the
embeddings, a few numbers per triplet. With e = f(x; theta) of all parts and the loss L(e)::

    dL/dtheta = sum over parts p of (dL/de_p) (de_p/dtheta)

GradCache computes the right side in three passes: (1) embed all parts and keep nothing but the embeddings,
(2) the loss of all embeddings and its gradient dL/de, (3) for each part, embed it once more, this time with
its activations, and push dL/de_p through. One part's activations are alive at a time; the price is one more
forward pass. Pass 3 draws the same random numbers as pass 1, so that dropout is the same function in both.

Passes 1 and 3 are what `torch.utils.checkpoint` does with one part as the checkpointed function: pass 2 *is*
the backward pass of whatever was computed on the embeddings. Loss terms of strategies, gradients asked for
by `torch.autograd.grad` (A-GEM) and terms on the weights (EWC) need no further rules.

References:
    Gao et al. 2021, Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup,
    arXiv 2101.06983;
    Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost, arXiv 1604.06174.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from clplat.data.batch import Batch
from clplat.errors import UserError
from clplat.models.outputs import Outputs

__all__ = ["embed_in_parts", "refuse_batch_statistics"]


def embed_in_parts(model: nn.Module, batch: Batch, size: int) -> Outputs:
    """Outputs of the whole batch, whose activations exist for ``size`` triplets at a time.

    Args:
        model: ``Batch -> Outputs``; each triplet's embeddings depend on that triplet alone.
        batch: the order of its candidates is the order of the result's.
        size: triplets per part.
    """
    starts = range(0, len(batch), size)
    if len(starts) == 1:
        whole: Outputs = model(batch)
        return whole
    parts = [batch.part(range(start, min(start + size, len(batch)))) for start in starts]
    return Outputs.joined([_embed(model, part) for part in parts])


def _embed(model: nn.Module, part: Batch) -> Outputs:
    # Torch looks for tensors among the arguments to learn which device's random state it must restore.
    def run(_: Tensor) -> Outputs:
        out: Outputs = model(part)
        return out

    made: Outputs = checkpoint(run, part.weights, use_reentrant=False)
    return made


def refuse_batch_statistics(model: nn.Module) -> None:
    """A batch norm in training mode would see parts instead of the batch, and each of them twice.

    Raises:
        UserError: the model has one.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training:
            raise UserError(
                f"micro_batch cannot split a batch whose statistics are computed, by '{name}': "
                "leave it null, or freeze the batch norms"
            )
