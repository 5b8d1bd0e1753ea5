"""Attention alone in PyTorch, forward and backward, bf16, 16 heads, 16,384 rows (B x T): what test_kernels "[.attention_bench]"
is compared with. Prints milliseconds (median of 15, each of 6 launches).

    python3 attention_torch.py [SECONDS]      stops compiling flex_attention after that time
"""
import sys
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

HEADS, ROWS = 16, 16384


def median(run, repeats=15, launches=6):
    for _ in range(3):
        run()
    torch.cuda.synchronize()
    ms = []
    for _ in range(repeats):
        a, b = torch.cuda.Event(True), torch.cuda.Event(True)
        a.record()
        for _ in range(launches):
            run()
        b.record()
        torch.cuda.synchronize()
        ms.append(a.elapsed_time(b) / launches)
    return sorted(ms)[repeats // 2]


def show(name, attention, head_dim, T, window):
    shape = (ROWS // T, HEADS, T, head_dim)
    q, k, v = (torch.randn(shape, device="cuda", dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
    gradient = torch.randn(shape, device="cuda", dtype=torch.bfloat16)
    forward = median(lambda: attention(q, k, v))
    out = attention(q, k, v)
    backward = median(lambda: torch.autograd.grad(out, (q, k, v), gradient, retain_graph=True))
    print(f"{name} hd {head_dim} T {T} W {window}: forward {forward:.3f} backward {backward:.3f} sum "
          f"{forward + backward:.3f} ms", flush=True)


def sdpa(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


if __name__ == "__main__":
    start, limit = time.time(), float(sys.argv[1]) if len(sys.argv) > 1 else 1e9
    torch._dynamo.config.cache_size_limit = 64
    sizes = [(hd, T) for hd in (64, 128) for T in (2048, 8192)]
    for hd, T in sizes:
        show("sdpa (default)", sdpa, hd, T, T)
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            show("sdpa (cuDNN)", sdpa, hd, T, T)
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            show("sdpa (flash)", sdpa, hd, T, T)
            torch.use_deterministic_algorithms(True, warn_only=True)
            show("sdpa (flash, deterministic)", sdpa, hd, T, T)
            torch.use_deterministic_algorithms(False)
    for hd, T in sizes:
        for window in sorted({T, 128, 512, 2048}):
            if time.time() - start > limit:
                continue
            torch._dynamo.reset()
            mask = create_block_mask(lambda b, h, i, j: (i >= j) & (i - j < window), None, None, T, T, device="cuda")
            compiled = torch.compile(flex_attention)
            show("flex", lambda q, k, v: compiled(q, k, v, block_mask=mask), hd, T, window)
