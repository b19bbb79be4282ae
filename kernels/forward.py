"""The forward kernel: flash attention in which the queries of both breasts share every tile of keys and values.

One program holds the same rows of the right and of the left side, HALF = ROWS // 2 of each, and walks over the keys of
one `source` side: for the rows of that side this is self-attention, for the others cross-attention. So a K/V tile that
is loaded serves SA and CA, and both are written where the fusing layer reads them. README.md beside this has the
arithmetic. Online softmax after Milakov & Gimelshein (arXiv 1805.02867) and FlashAttention-2 (arXiv 2307.08691), with
base-2 exponentials.
"""
# mypy: disable-error-code="no-untyped-def, untyped-decorator"
# Triton compiles the text of these functions: annotations there mean something else.

import triton
import triton.language as tl

# float32 products as three TF32 products on the tensor cores: float32's accuracy, not TF32's. Other dtypes ignore it.
FLOAT32_PRODUCTS = tl.constexpr("tf32x3")


@triton.jit
def attention_forward(
    q, k, v,  # [B, 2, N, h, DIM], any strides
    out,  # [B, 2, N, 2·h·DIM], contiguous
    lse,  # [B, h, source, side, N], contiguous: log2 of the sum of 2^score; None: nobody will want it
    tokens, heads, log2_scale,  # N, h, scale · log2(e) > 0
    q_batch, q_side, q_token, q_head, q_dim,  # strides, in elements
    k_batch, k_side, k_token, k_head, k_dim,
    v_batch, v_side, v_token, v_head, v_dim,
    DIM: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    EVEN: tl.constexpr,  # N is a multiple of COLUMNS: no key needs masking
):  # fmt: skip
    # grid: row tiles × source side × batch and head; neighbours share keys, which stay in L2
    HALF: tl.constexpr = ROWS // 2
    tiles = tl.cdiv(tokens, HALF)
    tile = tl.program_id(0) % tiles
    source = tl.program_id(0) // tiles % 2
    batch = (tl.program_id(0) // (2 * tiles) // heads).to(tl.int64)  # whole tensors may pass 2^31 elements
    head = tl.program_id(0) // (2 * tiles) % heads

    place = tl.arange(0, ROWS)
    side = place // HALF
    row = tile * HALF + place % HALF
    dims = tl.arange(0, DIM)
    present = row[:, None] < tokens

    q += batch * q_batch + head * q_head
    queries = tl.load(q + (side * q_side + row * q_token)[:, None] + dims[None, :] * q_dim, mask=present, other=0.0)
    k += batch * k_batch + source * k_side + head * k_head
    v += batch * v_batch + source * v_side + head * v_head

    acc_type: tl.constexpr = tl.float64 if q.dtype.element_ty == tl.float64 else tl.float32
    log2_scale = tl.cast(log2_scale, acc_type)  # compiled by Inductor, a Python float comes as float64
    top = tl.full([ROWS], float("-inf"), acc_type)  # largest score so far, times log2(e)
    total = tl.zeros([ROWS], acc_type)
    acc = tl.zeros([ROWS, DIM], acc_type)
    for start in range(0, tokens, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        inside = (column < tokens) | EVEN  # folds to true, and the masks vanish
        keys = tl.load(k + column[None, :] * k_token + dims[:, None] * k_dim, mask=inside[None, :], other=0.0)
        scores = tl.dot(queries, keys, input_precision=FLOAT32_PRODUCTS, out_dtype=acc_type)  # [ROWS, COLUMNS]
        scores = tl.where(inside[None, :], scores, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, 1) * log2_scale)
        weights = tl.exp2(scores * log2_scale - higher[:, None])
        shrink = tl.exp2(top - higher)
        total = total * shrink + tl.sum(weights, 1)
        acc = acc * shrink[:, None]
        values = tl.load(v + column[:, None] * v_token + dims[None, :] * v_dim, mask=inside[:, None], other=0.0)
        acc = tl.dot(weights.to(values.dtype), values, acc, input_precision=FLOAT32_PRODUCTS, out_dtype=acc_type)
        top = higher

    kind = (side != source).to(tl.int32)  # 0: the SA half of the channels, 1: the CA half
    channel = (kind * heads + head) * DIM
    out += batch * 4 * tokens * heads * DIM
    places = ((side * tokens + row) * (2 * heads * DIM) + channel)[:, None] + dims[None, :]
    tl.store(out + places, (acc / total[:, None]).to(out.dtype.element_ty), mask=present)
    if lse is not None:
        lse += ((batch * heads + head) * 2 + source) * 2 * tokens
        tl.store(lse + side * tokens + row, top + tl.log2(total), mask=row < tokens)
