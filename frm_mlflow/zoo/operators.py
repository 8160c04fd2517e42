"""Cost of one call of a torch operator: multiply-accumulates by a formula, zero, or unknown.

`macs_of` applies to every network that torch runs. Operators that multiply and accumulate have a formula.
`_FREE` lists those that cost nothing by convention: views, data movement, reductions, pooling, normalisation,
interpolation, indexing, sorting and sampling (torch itself tags element-wise operators and reductions).
All others are unknown, and a network that calls one has no FLOPs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakIdKeyDictionary

_FREE_NAMES = """
_adaptive_avg_pool2d _adaptive_avg_pool3d _add_relu _aminmax _assert_async _assert_scalar _assert_tensor_metadata
_batch_norm_no_update _chunk_cat _conj_copy _convert_weight_to_int4pack _copy_from _cummax_helper _cummin_helper
_efficientzerotensor _embedding_bag _embedding_bag_forward_only _empty_affine_quantized
_fake_quantize_per_tensor_affine_cachemask_tensor_qparams _functional_assert_async _functional_assert_scalar
_functional_sym_constrain_range _functional_sym_constrain_range_for_size _grid_sampler_2d_cpu_fallback
_has_same_storage_numel _index_put_impl _index_put_impl_ _is_all_true _is_any_true _lazy_clone
_local_scalar_dense _log_softmax _make_dep_token _make_per_channel_quantized_tensor
_make_per_tensor_quantized_tensor _masked_softmax _native_batch_norm_legit
_native_batch_norm_legit_functional _native_batch_norm_legit_no_training _neg_view_copy _pack_padded_sequence
_padded_dense_to_jagged_forward _pin_memory _prelu_kernel _print _reshape_alias_copy _reshape_copy _resize_output
_safe_softmax _softmax _spdiags _stack _thnn_fused_gru_cell _thnn_fused_lstm_cell _to_copy _to_dense
_transform_bias_rescale_qkv _unique _unique2 _unsafe_index _unsafe_index_put _unsafe_masked_index
_unsafe_masked_index_put_accumulate _unsafe_view _upsample_bicubic2d_aa _upsample_bilinear2d_aa
_upsample_lanczos2d_aa _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d
_weight_norm_interface adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool2d
adaptive_max_pool3d affine_grid_generator alias_copy all allclose amax amin any arange argmax argmin argsort
as_strided as_strided_ as_strided_copy as_strided_scatter avg_pool1d avg_pool2d avg_pool3d bartlett_window
bernoulli bernoulli_ bincount blackman_window block_diag bucketize cat channel_shuffle clone col2im complex
constant_pad_nd copy copy_ count_nonzero cummax cummin cumprod cumsum dequantize detach detach_ detach_copy
diag_embed diagonal_copy diagonal_scatter dist embedding embedding_renorm_ empty empty_like empty_permuted
empty_quantized empty_strided exponential exponential_ eye fake_quantize_per_channel_affine_cachemask
fake_quantize_per_tensor_affine_cachemask expand_copy fill fill_ flip fractional_max_pool2d fractional_max_pool3d
full full_like gather glu grid_sampler_2d grid_sampler_3d hamming_window hann_window hardswish hardswish_ histc
histogram im2col index index_add index_add_ index_copy index_copy_ index_fill index_fill_ index_put index_put_
index_reduce index_reduce_ index_select int_repr is_pinned is_same_size isin item kaiser_window kthvalue
lift lift_fresh lift_fresh_copy linalg_cross linalg_vector_norm linspace log_sigmoid_forward log_softmax
logcumsumexp logspace logsumexp masked_fill masked_fill_ masked_scatter masked_scatter_ masked_select max
max_pool2d_with_indices max_pool3d_with_indices max_unpool2d max_unpool3d mean median min mode msort multinomial
nanmedian nansum narrow_copy native_batch_norm native_dropout native_group_norm native_layer_norm new_empty
new_empty_strided new_full new_ones new_zeros nonzero nonzero_static norm normal normal_ normal_functional
numpy_T ones ones_like permute_copy pixel_shuffle pixel_unshuffle poisson polar prod put put_
q_per_channel_axis q_per_channel_scales q_per_channel_zero_points q_scale q_zero_point qscheme
quantize_per_channel quantize_per_tensor quantize_per_tensor_dynamic quantized_max_pool1d quantized_max_pool2d
quantized_max_pool3d rand rand_like randint randint_like randn randn_like random random_ randperm range
reflection_pad1d reflection_pad2d reflection_pad3d renorm repeat repeat_interleave replication_pad1d
replication_pad2d replication_pad3d resize resize_ roll rot90 rrelu_with_noise scalar_tensor scatter scatter_
scatter_add scatter_add_ scatter_reduce scatter_reduce_ searchsorted segment_reduce select_copy select_scatter
set_ slice_copy slice_scatter softmax sort split_copy split_with_sizes_copy squeeze_ squeeze_copy stack std
std_mean sum sym_constrain_range sym_constrain_range_for_size sym_numel sym_size sym_storage_offset sym_stride
t_ t_copy take to_padded_tensor topk trace transpose_ transpose_copy tril tril_ tril_indices triu triu_
triu_indices unbind_copy unfold_copy uniform uniform_ unique_consecutive unique_dim unique_dim_consecutive
unsafe_split unsafe_split_with_sizes unsqueeze_ unsqueeze_copy upsample_bicubic2d upsample_bilinear2d
upsample_linear1d upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_trilinear3d var var_mean
view_as_complex_copy view_as_real_copy view_copy zero zero_ zeros zeros_like
"""
_FREE = frozenset(_FREE_NAMES.split())
_FREE_QUANTISED = """
add add_relu add_scalar cat cat_relu mul mul_relu mul_scalar relu relu6 leaky_relu sigmoid tanh hardswish elu celu prelu
clamp threshold batch_norm batch_norm1d batch_norm2d batch_norm3d batch_norm_relu batch_norm2d_relu layer_norm
group_norm instance_norm softmax max_pool1d max_pool2d embedding_byte embedding_4bit embedding_bag_byte_rowwise_offsets
linear_prepack conv2d_prepack linear_unpack conv2d_unpack
"""
_FREE_ELSEWHERE = {
    "torchvision": frozenset(("nms", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool")),
    "quantized": frozenset(_FREE_QUANTISED.split()),
    "prim": frozenset(("device", "layout", "dtype")),
}

Formula = Callable[[tuple[Any, ...], Any], float]


def macs_of(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> float | None:
    """Return the multiply-accumulates of one operator call: 0 if it costs nothing, None if unknown."""
    packet = func.overloadpacket
    formula = _FORMULAS.get(qualified_name(func))
    if formula is not None:
        return formula(args, output)
    if packet in flop_registry:
        return float(flop_registry[packet](*args, **kwargs, out_val=output)) / 2
    if func.namespace == "quantized" and (found := _quantised(packet.__name__, args, output)) is not None:
        return found
    return 0.0 if is_free(func) else None


def is_free(func: Any) -> bool:
    """Return whether an operator costs no multiply-accumulates by convention."""
    if func.is_view or torch.Tag.pointwise in func.tags or torch.Tag.reduction in func.tags:
        return True
    name = str(func.overloadpacket.__name__)
    free = _FREE if func.namespace == "aten" else _FREE_ELSEWHERE.get(func.namespace, frozenset())
    return name in free


def qualified_name(func: Any) -> str:
    """Return the operator's name, prefixed with its namespace unless it is torch's: `addmm`, `torchvision.nms`."""
    name = str(func.overloadpacket.__name__)
    return name if func.namespace == "aten" else f"{func.namespace}.{name}"


def _recurrent_layer(args: tuple[Any, ...], output: Any) -> float:  # noqa: ARG001 - same signature for all formulas
    """Return the cost of one direction of one layer: every step multiplies input and state by their weights."""
    x, input_weight, state_weight = args[:3]
    return float(math.prod(x.shape[:-1]) * (input_weight.numel() + state_weight.numel()))


def _per_output(size: Callable[[tuple[Any, ...]], float]) -> Formula:
    """Return the formula of an operator in which every output element is a sum of `size` products."""
    return lambda args, output: float(output.numel() * size(args))


_FORMULAS: dict[str, Formula] = {
    "mkldnn_rnn_layer": _recurrent_layer,
    "linear": _per_output(lambda args: args[0].shape[-1]),
    "mv": lambda args, _: float(args[0].numel()),
    "addmv": lambda args, _: float(args[1].numel()),
    "addmv_": lambda args, _: float(args[1].numel()),
    "dot": lambda args, _: float(args[0].numel()),
    "vdot": lambda args, _: float(args[0].numel()),
    "addbmm": lambda args, _: float(args[1].numel() * args[2].shape[-1]),
    "addr": _per_output(lambda _: 1),
    "_addmm_activation": lambda args, _: float(args[1].numel() * args[2].shape[-1]),
    "_int_mm": _per_output(lambda args: args[0].shape[-1]),
    "_cdist_forward": _per_output(lambda args: args[0].shape[-1]),
    "_euclidean_dist": _per_output(lambda args: args[0].shape[-1]),
    "_pdist_forward": _per_output(lambda args: args[0].shape[-1]),
    "_trilinear": lambda args, _: float(args[0].shape[0] * args[1].numel()),
    "_weight_int8pack_mm": _per_output(lambda args: args[0].shape[-1]),
    "torchvision.deform_conv2d": _per_output(lambda args: math.prod(args[1].shape[1:])),
}
"""Formulas in addition to those of `torch.utils.flop_counter`, by qualified name."""


def _quantised(name: str, args: tuple[Any, ...], output: Any) -> float | None:
    """Count a quantised layer, whose weights are packed into its second argument; None for another operator."""
    if name.startswith("linear") and isinstance(output, Tensor):
        return float(output.numel() * args[0].shape[-1])
    if name.startswith("conv") and isinstance(output, Tensor) and hasattr(args[1], "weight"):
        per_element = math.prod(args[1].weight().shape[1:])
        return float((args[0] if "transpose" in name else output).numel() * per_element)
    return None


class Tally(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch types it in part
    """Counts every operator that runs while it is active, and follows what depends on `inputs`."""

    def __init__(self, inputs: Sequence[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs = 0.0
        self.activations = self.ops = self.compute_ops = self.quantised_ops = 0
        self.uncounted: set[str] = set()
        self.weights: dict[int, int] = {}
        """Maps the storage of each constant that an operator combines with data to the largest part used."""
        self.products: list[int | None] = []
        """Storage of the weight of each product that depends on the input; None for a product of two activations."""
        self._data = WeakIdKeyDictionary()
        for tensor in inputs:
            self._data[tensor] = True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not isinstance(func, torch._ops.OpOverload):  # control flow: torch runs the branches, which are then counted
            self.uncounted.add(str(func))
            return func(*args, **kwargs)
        if not is_free(func):
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        output = func(*args, **kwargs)
        self._note(func, args, kwargs, output)
        return output

    def _note(self, func: Any, args: Any, kwargs: Mapping[str, Any], output: Any) -> None:
        self.ops += not func.is_view
        operands = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        results = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        constants = [operand for operand in operands if operand not in self._data]
        depends = len(constants) < len(operands)
        if depends:
            for result in results:
                self._data[result] = True
            for constant in constants:
                key = storage_of(constant)
                self.weights[key] = max(constant.numel(), self.weights.get(key, 0))
        macs = macs_of(func, args, kwargs, output)
        if macs is None:
            self.uncounted.add(qualified_name(func))
        elif macs:
            self._note_product(macs, func, args, constants if depends else None, results)

    def _note_product(
        self, macs: float, func: Any, args: Any, constants: list[Tensor] | None, results: list[Tensor]
    ) -> None:
        self.macs += macs
        self.compute_ops += 1
        self.quantised_ops += func.namespace == "quantized"
        self.activations += sum(result.numel() for result in results)
        if constants is None:
            return
        # A recurrent layer takes its initial state along with its weights, but the state is not a weight.
        matrices = args[1:3] if func.overloadpacket.__name__ == "mkldnn_rnn_layer" else constants
        weights = [storage_of(matrix) for matrix in matrices if matrix.ndim > 1]
        self.products += weights or [None]

    @property
    def distinct_products(self) -> int:
        """Return the number of products that depend on the input, counting those with the same weight once."""
        shared = {weight for weight in self.products if weight is not None}
        return len(shared) + self.products.count(None)


@contextmanager
def counting(inputs: Sequence[Tensor] = ()) -> Iterator[Tally]:
    """Count what runs inside the block, without gradients and with attention as separate matrix products."""
    with unfused_attention(), torch.no_grad(), sdpa_kernel(SDPBackend.MATH), Tally(inputs) as tally:
        yield tally


@contextmanager
def unfused_attention() -> Iterator[None]:
    """Run transformer layers as individual operators, not as one fused operator that no exporter supports."""
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)


def storage_of(tensor: Tensor) -> int:
    """Return an address shared by all views of one tensor; a tensor without storage has a unique one."""
    try:
        return tensor.untyped_storage().data_ptr()
    except (NotImplementedError, RuntimeError):
        return id(tensor)
