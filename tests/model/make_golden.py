"""Makes tests/golden/proxy_*.safetensors: the proxy in plain PyTorch, fp64, written from the formulas alone.

    python3 tests/model/make_golden.py        (needs PyTorch; no other package)

Each file holds one small model: its weights (fp32 numbers, so that both sides start from the same values), ten batches,
the logits and the mean loss of the first batch, the gradient of every parameter, and ten training losses with gradient
norms (AdamW, WSD schedule, global-norm clip, decay on matrices only). Metadata: layout, shape and recipe.
"""
import json
import math
import pathlib
import struct

import torch

torch.set_default_dtype(torch.float64)
GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden"
STEPS = 10


def layers_of(layout):
    """'swa:3 full/nope' -> [(window or None, rope, sink)]; only flat layouts are used here."""
    layers = []
    for word in layout.split():
        mixer, *attributes = word.split("/")
        window = int(mixer[4:]) if mixer.startswith("swa:") else None
        layers.append((window, "nope" not in attributes, "sink" in attributes))
    return layers


def make_weights(c, generator):
    """Named as in Hugging Face SmolLM3; sinks as in gpt-oss."""
    d, hd, f = c["d_model"], c["head_dim"], c["ffn"]

    def normal(*dims, std):
        return (torch.randn(*dims, generator=generator) * std).float().double()

    w = {"model.embed_tokens.weight": normal(c["vocab"], d, std=0.7)}
    for i, (_, _, sink) in enumerate(layers_of(c["layout"])):
        p = f"model.layers.{i}."
        w[p + "self_attn.q_proj.weight"] = normal(c["heads"] * hd, d, std=1.5 * d**-0.5)
        w[p + "self_attn.k_proj.weight"] = normal(c["kv_heads"] * hd, d, std=1.5 * d**-0.5)
        w[p + "self_attn.v_proj.weight"] = normal(c["kv_heads"] * hd, d, std=d**-0.5)
        w[p + "self_attn.o_proj.weight"] = normal(d, c["heads"] * hd, std=(c["heads"] * hd) ** -0.5)
        w[p + "input_layernorm.weight"] = 1 + normal(d, std=0.2)
        if sink:
            w[p + "self_attn.sinks"] = normal(c["heads"], std=1.0)
        if f > 0:
            w[p + "mlp.gate_proj.weight"] = normal(f, d, std=1.2 * d**-0.5)
            w[p + "mlp.up_proj.weight"] = normal(f, d, std=d**-0.5)
            w[p + "mlp.down_proj.weight"] = normal(d, f, std=f**-0.5)
            w[p + "post_attention_layernorm.weight"] = 1 + normal(d, std=0.2)
    w["model.norm.weight"] = 1 + normal(d, std=0.2)
    if not c["tied"]:
        w["lm_head.weight"] = normal(c["vocab"], d, std=d**-0.5)
    return {name: (t.float().double()).requires_grad_() for name, t in w.items()}


def rms_norm(x, weight):
    return weight * x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-6)


def rotate(x, theta):
    """x [B, heads, T, hd]; pairs (i, i + hd/2) turn by t * theta^(-2i/hd)."""
    half = x.shape[-1] // 2
    t = torch.arange(x.shape[-2]).double()
    angle = t[:, None] * theta ** (-2.0 * torch.arange(half).double() / x.shape[-1])[None, :]
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)


def attention(c, w, prefix, h, window, rope, sink):
    B, T, _ = h.shape
    H, KV, hd = c["heads"], c["kv_heads"], c["head_dim"]
    q = (h @ w[prefix + "q_proj.weight"].T).view(B, T, H, hd).transpose(1, 2)
    k = (h @ w[prefix + "k_proj.weight"].T).view(B, T, KV, hd).transpose(1, 2)
    v = (h @ w[prefix + "v_proj.weight"].T).view(B, T, KV, hd).transpose(1, 2)
    if rope:
        q, k = rotate(q, c["rope_theta"]), rotate(k, c["rope_theta"])
    k, v = k.repeat_interleave(H // KV, 1), v.repeat_interleave(H // KV, 1)
    scores = q @ k.transpose(-1, -2) / math.sqrt(hd)
    i, j = torch.arange(T)[:, None], torch.arange(T)[None, :]
    seen = (j <= i) if window is None else (j <= i) & (j > i - window)
    scores = scores.masked_fill(~seen, -math.inf)
    if sink:
        column = w[prefix + "sinks"].view(1, H, 1, 1).expand(B, H, T, 1)
        weights = torch.cat([scores, column], -1).softmax(-1)[..., :-1]
    else:
        weights = scores.softmax(-1)
    out = (weights @ v).transpose(1, 2).reshape(B, T, H * hd)
    return out @ w[prefix + "o_proj.weight"].T


def logits_of(c, w, tokens):
    x = w["model.embed_tokens.weight"][tokens]
    for i, (window, rope, sink) in enumerate(layers_of(c["layout"])):
        p = f"model.layers.{i}."
        h = rms_norm(x, w[p + "input_layernorm.weight"])
        x = x + attention(c, w, p + "self_attn.", h, window, rope, sink)
        if c["ffn"] > 0:
            h = rms_norm(x, w[p + "post_attention_layernorm.weight"])
            gate = h @ w[p + "mlp.gate_proj.weight"].T
            up = h @ w[p + "mlp.up_proj.weight"].T
            x = x + (gate * torch.sigmoid(gate) * up) @ w[p + "mlp.down_proj.weight"].T
    head = w["model.embed_tokens.weight"] if c["tied"] else w["lm_head.weight"]
    return rms_norm(x, w["model.norm.weight"]) @ head.T


def mean_loss(c, w, tokens, targets):
    logits = logits_of(c, w, tokens)
    scored = targets >= 0
    return torch.nn.functional.cross_entropy(logits[scored], targets[scored])


def multiplier(r, step):
    """WSD: linear warm-up, stable, linear decay over the last part to final_ratio."""
    if step <= r["warmup_steps"]:
        return step / r["warmup_steps"]
    start = max(r["warmup_steps"], STEPS - round(r["decay_fraction"] * STEPS))
    if step <= start:
        return 1.0
    return 1 - (1 - r["final_ratio"]) * (step - start) / (STEPS - start)


def train(c, r, w, tokens, targets):
    matrices = [t for t in w.values() if t.dim() == 2]
    vectors = [t for t in w.values() if t.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": r["weight_decay"]}, {"params": vectors, "weight_decay": 0.0}],
        lr=r["learning_rate"], betas=(0.9, 0.95), eps=1e-8)
    losses, norms = [], []
    for step in range(1, STEPS + 1):
        for group in optimizer.param_groups:
            group["lr"] = r["learning_rate"] * multiplier(r, step)
        optimizer.zero_grad()
        loss = mean_loss(c, w, tokens[step - 1], targets[step - 1])
        loss.backward()
        norm = math.sqrt(sum(float((t.grad**2).sum()) for t in w.values()))
        scale = min(1.0, r["clip"] / norm)
        for t in w.values():
            t.grad *= scale
        optimizer.step()
        losses.append(loss.item())
        norms.append(norm)
    assert min(norms) < r["clip"] < max(norms), f"the clip {r['clip']} should act in some steps of {norms}"
    return torch.tensor(losses), torch.tensor(norms)


def write_safetensors(path, tensors, metadata):
    names = {torch.float32: ("F32", "f"), torch.float64: ("F64", "d"), torch.int32: ("I32", "i")}
    header, data = {"__metadata__": metadata}, b""
    for name, t in tensors.items():
        kind, code = names[t.dtype]
        values = t.detach().reshape(-1).tolist()
        chunk = struct.pack(f"<{len(values)}{code}", *values)
        header[name] = {"dtype": kind, "shape": list(t.shape), "data_offsets": [len(data), len(data) + len(chunk)]}
        data += chunk
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def make(name, seed, c, r):
    generator = torch.Generator().manual_seed(seed)
    w = make_weights(c, generator)
    shape = (STEPS, c["batch"], c["context"])
    tokens = torch.randint(c["vocab"], shape, generator=generator)
    targets = torch.randint(c["vocab"], shape, generator=generator)
    targets[torch.rand(shape, generator=generator) < 0.2] = -1  # not scored
    tensors = {n: t.detach().float() for n, t in w.items()}
    tensors["tokens"], tensors["targets"] = tokens.int(), targets.int()
    tensors["logits"] = logits_of(c, w, tokens[0])
    loss = mean_loss(c, w, tokens[0], targets[0])
    loss.backward()
    tensors["loss"] = loss.reshape(1)
    for n, t in w.items():
        tensors["grad." + n] = t.grad.clone()
        assert t.grad.abs().sum() > 0, n
    tensors["losses"], tensors["grad_norms"] = train(c, r, w, tokens, targets)
    for n, t in w.items():
        tensors["trained." + n] = t.detach().float()
    path = GOLDEN / f"proxy_{name}.safetensors"
    write_safetensors(path, tensors, {"config": json.dumps(c), "recipe": json.dumps(r)})
    print(name, path.stat().st_size, "bytes; losses", [round(x, 4) for x in tensors["losses"].tolist()],
          "norms", [round(x, 3) for x in tensors["grad_norms"].tolist()])


if __name__ == "__main__":
    RECIPE = {"learning_rate": 0.01, "weight_decay": 0.1, "clip": 12.0, "warmup_steps": 3, "decay_fraction": 0.4,
              "final_ratio": 0.1}
    # Windows, NoPE, sinks, GQA 2:1; tied head.
    make("tied", 1, {"layout": "swa:3 full/nope swa:5/sink full/sink", "d_model": 16, "heads": 2, "kv_heads": 1,
                     "head_dim": 8, "ffn": 24, "vocab": 23, "context": 12, "batch": 3, "tied": True,
                     "rope_theta": 10000.0}, RECIPE)
    # Query width other than d_model, GQA 4:2, NoPE on a window layer, window 1 with a sink; untied head.
    make("untied", 2, {"layout": "swa:4/nope/sink full swa:1/sink", "d_model": 24, "heads": 4, "kv_heads": 2, "head_dim": 4,
                       "ffn": 20, "vocab": 19, "context": 14, "batch": 2, "tied": False, "rope_theta": 100.0},
         {**RECIPE, "clip": 3.6})
    # No feed-forward block, three heads, odd sizes.
    make("no_ffn", 3, {"layout": "full swa:2/nope", "d_model": 18, "heads": 3, "kv_heads": 3, "head_dim": 6, "ffn": 0,
                       "vocab": 17, "context": 10, "batch": 5, "tied": True, "rope_theta": 10000.0},
         {**RECIPE, "clip": 4.0})
