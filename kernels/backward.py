"""The backward kernels: dQ gathers two attentions, dK and dV gather the SA of their own side and the CA of the other.

With P the attention weights of the queries of side s over the keys of side t, O and dO that attention's output and its
gradient, and δ = rowsum(O ⊙ dO) (FlashAttention-2, arXiv 2307.08691, section 3.1.2):

    dS = P ⊙ (dO·Vᵀ − δ)      dQ_s = scale · Σ_t dS·K_t      dK_t = scale · Σ_s dSᵀ·Q_s      dV_t = Σ_s Pᵀ·dO

Two launches, the first for dQ, which also stores δ, the second for dK and dV. Each sum is taken by one program in a
fixed order, without atomics, so that the same input gives the same bits.
"""
# mypy: disable-error-code="no-untyped-def, untyped-decorator"
# Triton compiles the text of these functions: annotations there mean something else.

import triton
import triton.language as tl

from disasym.kernels.forward import FLOAT32_PRODUCTS


@triton.jit
def attention_backward_queries(
    q, k, v,  # [B, 2, N, h, DIM], any strides
    out, grad,  # [B, 2, N, 2·h·DIM], contiguous
    lse, delta,  # [B, h, source, side, N], contiguous; delta is written
    dq,  # [B, 2, N, h, DIM], contiguous, written
    tokens, heads, scale, log2_scale,
    q_batch, q_side, q_token, q_head, q_dim,  # strides, in elements
    k_batch, k_side, k_token, k_head, k_dim,
    v_batch, v_side, v_token, v_head, v_dim,
    DIM: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    EVEN: tl.constexpr,  # N is a multiple of COLUMNS
):  # fmt: skip
    # grid: row tiles × batch and head; one program holds the same HALF rows of both sides
    HALF: tl.constexpr = ROWS // 2
    tiles = tl.cdiv(tokens, HALF)
    tile = tl.program_id(0) % tiles
    batch = (tl.program_id(0) // tiles // heads).to(tl.int64)
    head = tl.program_id(0) // tiles % heads

    place = tl.arange(0, ROWS)
    side = place // HALF
    row = tile * HALF + place % HALF
    dims = tl.arange(0, DIM)
    present = row[:, None] < tokens

    q += batch * q_batch + head * q_head
    queries = tl.load(q + (side * q_side + row * q_token)[:, None] + dims[None, :] * q_dim, mask=present, other=0.0)
    out += batch * 4 * tokens * heads * DIM
    grad += batch * 4 * tokens * heads * DIM
    lse += (batch * heads + head) * 4 * tokens
    delta += (batch * heads + head) * 4 * tokens

    acc_type: tl.constexpr = tl.float64 if q.dtype.element_ty == tl.float64 else tl.float32
    scale, log2_scale = tl.cast(scale, acc_type), tl.cast(log2_scale, acc_type)  # Inductor: Python floats are float64
    acc = tl.zeros([ROWS, DIM], acc_type)
    for source in range(2):
        kind = (side != source).to(tl.int32)
        channel = (kind * heads + head) * DIM
        places = ((side * tokens + row) * (2 * heads * DIM) + channel)[:, None] + dims[None, :]
        grads = tl.load(grad + places, mask=present, other=0.0)  # [ROWS, DIM]
        outs = tl.load(out + places, mask=present, other=0.0)
        shift = tl.sum(grads.to(acc_type) * outs.to(acc_type), 1)  # δ
        tl.store(delta + (source * 2 + side) * tokens + row, shift, mask=row < tokens)
        norm = tl.load(lse + (source * 2 + side) * tokens + row, mask=row < tokens, other=0.0)
        k_start = k + batch * k_batch + source * k_side + head * k_head
        v_start = v + batch * v_batch + source * v_side + head * v_head
        for start in range(0, tokens, COLUMNS):
            column = start + tl.arange(0, COLUMNS)
            inside = (column < tokens) | EVEN  # folds to true, and the masks vanish
            key_places = column[:, None] * k_token + dims[None, :] * k_dim
            keys = tl.load(k_start + key_places, mask=inside[:, None], other=0.0)  # [COLUMNS, DIM]
            value_places = column[:, None] * v_token + dims[None, :] * v_dim
            values = tl.load(v_start + value_places, mask=inside[:, None], other=0.0)
            scores = tl.dot(queries, tl.trans(keys), input_precision=FLOAT32_PRODUCTS, out_dtype=acc_type)
            scores = tl.where(inside[None, :], scores, float("-inf"))
            weights = tl.exp2(scores * log2_scale - norm[:, None])
            dweights = tl.dot(grads, tl.trans(values), input_precision=FLOAT32_PRODUCTS, out_dtype=acc_type)
            dscores = weights * (dweights - shift[:, None])  # [ROWS, COLUMNS]
            acc = tl.dot(dscores.to(keys.dtype), keys, acc, input_precision=FLOAT32_PRODUCTS, out_dtype=acc_type)

    dq += batch * 2 * tokens * heads * DIM
    places = ((side * tokens + row) * heads + head)[:, None] * DIM + dims[None, :]
    tl.store(dq + places, (acc * scale).to(dq.dtype.element_ty), mask=present)


@triton.jit
def attention_backward_keys(
    q, k, v,  # [B, 2, N, h, DIM], any strides
    grad,  # [B, 2, N, 2·h·DIM], contiguous
    lse, delta,  # [B, h, source, side, N], contiguous
    dk, dv,  # [B, 2, N, h, DIM], contiguous, written
    tokens, heads, scale, log2_scale,
    q_batch, q_side, q_token, q_head, q_dim,  # strides, in elements
    k_batch, k_side, k_token, k_head, k_dim,
    v_batch, v_side, v_token, v_head, v_dim,
    DIM: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    EVEN: tl.constexpr,  # N is a multiple of ROWS // 2
):  # fmt: skip
    # grid: column tiles × source side × batch and head; a tile of queries of both sides serves dK and dV
    HALF: tl.constexpr = ROWS // 2
    tiles = tl.cdiv(tokens, COLUMNS)
    tile = tl.program_id(0) % tiles
    source = tl.program_id(0) // tiles % 2
    batch = (tl.program_id(0) // (2 * tiles) // heads).to(tl.int64)
    head = tl.program_id(0) // (2 * tiles) % heads

    column = tile * COLUMNS + tl.arange(0, COLUMNS)
    dims = tl.arange(0, DIM)
    inside = column[:, None] < tokens
    k += batch * k_batch + source * k_side + head * k_head
    v += batch * v_batch + source * v_side + head * v_head
    keys = tl.load(k + column[:, None] * k_token + dims[None, :] * k_dim, mask=inside, other=0.0)  # [COLUMNS, DIM]
    values = tl.load(v + column[:, None] * v_token + dims[None, :] * v_dim, mask=inside, other=0.0)

    place = tl.arange(0, ROWS)
    side = place // HALF
    kind = (side != source).to(tl.int32)
    channel = (kind * heads + head) * DIM
    q += batch * q_batch + head * q_head
    grad += batch * 4 * tokens * heads * DIM
    lse += ((batch * heads + head) * 2 + source) * 2 * tokens
    delta += ((batch * heads + head) * 2 + source) * 2 * tokens

    acc_type: tl.constexpr = tl.float64 if q.dtype.element_ty == tl.float64 else tl.float32
    scale, log2_scale = tl.cast(scale, acc_type), tl.cast(log2_scale, acc_type)  # Inductor: Python floats are float64
    keys_acc = tl.zeros([COLUMNS, DIM], acc_type)
    values_acc = tl.zeros([COLUMNS, DIM], acc_type)
    for start in range(0, tokens, HALF):
        row = start + place % HALF
        query_places = (side * q_side + row * q_token)[:, None] + dims[None, :] * q_dim
        grad_places = ((side * tokens + row) * (2 * heads * DIM) + channel)[:, None] + dims[None, :]
        # an absent row has score 0, norm 0 and gradient 0: it adds nothing
        present = (row < tokens) | EVEN
        queries = tl.load(q + query_places, mask=present[:, None], other=0.0)  # [ROWS, DIM]
        grads = tl.load(grad + grad_places, mask=present[:, None], other=0.0)
        norm = tl.load(lse + side * tokens + row, mask=present, other=0.0)
        shift = tl.load(delta + side * tokens + row, mask=present, other=0.0)
        scores = tl.dot(keys, tl.trans(queries), input_precision=FLOAT32_PRODUCTS, out_dtype=acc_type)
        weights = tl.exp2(scores * log2_scale - norm[None, :])  # [COLUMNS, ROWS]
        values_acc = tl.dot(
            weights.to(grads.dtype), grads, values_acc, input_precision=FLOAT32_PRODUCTS, out_dtype=acc_type
        )
        dweights = tl.dot(values, tl.trans(grads), input_precision=FLOAT32_PRODUCTS, out_dtype=acc_type)
        dscores = weights * (dweights - shift[None, :])
        keys_acc = tl.dot(
            dscores.to(queries.dtype), queries, keys_acc, input_precision=FLOAT32_PRODUCTS, out_dtype=acc_type
        )

    start = batch * 2 * tokens * heads * DIM
    places = ((source * tokens + column) * heads + head)[:, None] * DIM + dims[None, :]
    tl.store(dk + start + places, (keys_acc * scale).to(dk.dtype.element_ty), mask=inside)
    tl.store(dv + start + places, values_acc.to(dv.dtype.element_ty), mask=inside)
