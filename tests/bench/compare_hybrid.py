"""Training speed of hylas beside the PyTorch program torch_hybrid.py, in one run on one GPU.

    python3 compare_hybrid.py FOLDER_OF_TORCH_HYBRID PATH/TO/hylas

torch_hybrid.py's own model, optimizer and step, with its windows of 128 and every fourth layer full: compiled once a mode
(the better of default and CUDA graphs at the two small sizes, default at the others), then timed three times over many
steps; hylas three times after it. Prints tokens/s, peak memory and the ratios to PyTorch's best time.
"""
import json
import subprocess
import sys
import time

sys.path.insert(0, sys.argv[1])
import torch  # noqa: E402
import torch_hybrid as th  # noqa: E402
from torch.nn.attention.flex_attention import create_block_mask  # noqa: E402

WINDOW, PERIOD = 128, 4


def torch_runs(name, mode, steps):
    V, d, L, heads, ffn, T, B = th.SIZES[name]
    torch.manual_seed(0)
    torch._dynamo.reset()
    torch.cuda.reset_peak_memory_stats()
    model = th.Proxy(V, d, L, heads, ffn, T, WINDOW, PERIOD).cuda()
    mask = create_block_mask(lambda b, h, q, k: (q >= k) & (q - k < WINDOW), None, None, T, T, device="cuda")
    opt = torch.optim.AdamW(model.parameters(), lr=3e-4, fused=True, betas=(0.9, 0.95), weight_decay=0.1)
    compiled = torch.compile(model, mode=mode)
    x, y = torch.randint(V, (B, T), device="cuda"), torch.randint(V, (B, T), device="cuda")

    def step():
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = compiled(x, y, mask)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        opt.zero_grad(set_to_none=True)

    start = time.time()
    for _ in range(6):
        step()
    torch.cuda.synchronize()
    speeds = []
    for _ in range(3):
        events = []
        for _ in range(steps):
            a, b = torch.cuda.Event(True), torch.cuda.Event(True)
            a.record()
            step()
            b.record()
            events.append((a, b))
        torch.cuda.synchronize()
        ms = sorted(a.elapsed_time(b) for a, b in events)[steps // 2]
        speeds.append(int(B * T / ms * 1e3))
    peak = torch.cuda.max_memory_allocated() / 2**30
    print(f"torch {name} {mode or 'default'}: {speeds} tokens/s, peak {peak:.2f} GiB, {time.time() - start:.0f} s in all",
          flush=True)
    torch._dynamo.reset()
    torch.cuda.empty_cache()
    return max(speeds)


def hylas_runs(name, trials, best):
    speeds, peak = [], 0
    for _ in range(3):
        command = [sys.argv[2], "bench", "train", "--device", "cuda", "--size", name, "--trials", str(trials),
                   "--seconds", "0.8", "--json"]
        result = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        speeds.append(int(result["tokens_per_second"]))
        peak = result["peak_bytes"] / 2**30
    ratios = " ".join(f"{s / best:.2f}" for s in speeds)
    print(f"hylas {name} x{trials}: {speeds} tokens/s, peak {peak:.2f} GiB, ratios {ratios}", flush=True)


if __name__ == "__main__":
    torch.set_float32_matmul_precision("high")
    torch._dynamo.config.cache_size_limit = 64
    for name, cohorts, modes, steps in (("tiny", (1, 32), (None, "reduce-overhead"), 30),
                                        ("small", (1, 8), (None, "reduce-overhead"), 30),
                                        ("mid", (1,), (None,), 20), ("big", (1,), (None,), 10)):
        best = max(torch_runs(name, mode, steps) for mode in modes)
        for trials in cohorts:
            hylas_runs(name, trials, best)
