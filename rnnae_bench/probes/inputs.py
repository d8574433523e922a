"""The gradient with respect to what a model reads: dL/dx, the one reading that every model has."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from torch import Tensor, nn

from rnnae_bench.contracts.heads import Embedding
from rnnae_bench.contracts.spec import Images, TaskSpec, Tokens
from rnnae_bench.contracts.task import Batch
from rnnae_bench.errors import UserError
from rnnae_bench.probes.pieces import Flow, Origins, Pieces, extent, steps_of


class Inputs(Pieces):
    """The inputs of a model as vectors, in the graph: embedded symbols, vectors, images."""

    def read(self, inputs: Tensor) -> Tensor:
        """The same inputs, differentiable, and free to be changed in place."""
        root = inputs if inputs.requires_grad else inputs.detach().requires_grad_()
        self.take(root)
        return inputs if root is inputs else root.clone()

    def flow(self, spec: TaskSpec, batch: Batch, origins: Origins) -> Flow:
        """The norms of dL/dx_t; of an image x_t is a row.

        Raises:
            UserError: the inputs were not read, or not as the batch has them.
        """
        if not self.roots:
            what = "no torch.nn.Embedding of the model reads" if isinstance(spec.inputs, Tokens) else "no forward reads"
            raise UserError(f"{what} the batch's inputs, so that there is no vector to differentiate by")
        if not self.gradients:
            raise UserError("no gradient of the loss reached the inputs")
        rows, steps = extent(spec, batch)
        pieces: Pieces = self
        if isinstance(spec.inputs, Images) and self.roots[0].dim() == len(rows) + 3:
            by_row = {place: _rows_of(gradient) for place, gradient in self.gradients.items()}
            pieces = Pieces([_rows_of(root.detach()) for root in self.roots], by_row)
        try:
            log_norm = pieces.log_norms(rows, steps, whole=False)
        except UserError as error:
            raise UserError(f"the model does not read the batch once and as it is: {error}") from error
        return Flow("input_saliency", "inputs", "x", log_norm, origins(steps_of(spec, batch), False))


def _rows_of(images: Tensor) -> Tensor:
    return images.transpose(-3, -2).flatten(-2)


@contextmanager
def read_inputs(module: nn.Module, spec: TaskSpec, batch: Batch) -> Iterator[Inputs]:
    """While it lasts, what the model reads of the batch is kept, with the gradient that reaches it.

    That is what its `rnnae_bench.contracts.heads.Embedding` gives; without one, what a ``torch.nn.Embedding`` makes of
    the batch's own symbols, whole or piece by piece; or the real numbers that its forward pass is called with.
    """
    found = Inputs()
    embeddings = [one for one in module.modules() if isinstance(one, Embedding) and one.of == "inputs"]
    with ExitStack() as hooks:
        if not embeddings and not isinstance(spec.inputs, Tokens):
            hooks.callback(
                module.register_forward_pre_hook(
                    lambda _, args: (found.read(args[0]), *args[1:]) if args and _is_real(args[0]) else None
                ).remove
            )
        for each in embeddings:
            hooks.callback(each.register_forward_hook(lambda _, args, embedded: found.read(embedded)).remove)
        for other in [] if embeddings else module.modules():
            if isinstance(other, nn.Embedding):
                hooks.callback(
                    other.register_forward_hook(
                        lambda _, args, embedded: found.read(embedded) if _is_part(args[0], batch.inputs) else None
                    ).remove
                )
        yield found


def _is_part(symbols: Tensor, of: Tensor) -> bool:
    """Whether a tensor is another one or a view of it: a model may have other symbols, its positions, say."""
    return symbols.untyped_storage().data_ptr() == of.untyped_storage().data_ptr()


def _is_real(inputs: object) -> bool:
    return isinstance(inputs, Tensor) and inputs.is_floating_point()
