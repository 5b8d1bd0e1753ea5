"""Makes tests/golden/bf16_errors.json: how far the gradients of a careful bf16 PyTorch computation are from exact ones.

    python3 tests/model/make_bf16_errors.py        (needs PyTorch; runs on the CPU)

The bf16 computation keeps fp32 master weights, activations and matrices in bf16, products with fp32 sums and one
rounding of the result, and softmax, norms, SwiGLU and loss in fp32 inside; gradients of activations are bf16, those of
matrices are rounded to bf16 once. The exact one is the fp64 model of make_golden.py on the same master weights.
An entry is a model; its errors are norms of the difference over norms, each taken over all trials (seeds): of every
weight's gradient by name, and of the losses.
"""
import json
import math
import pathlib

import torch

from make_golden import layers_of, logits_of, rotate

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden"
TRIALS = 6


def bf16(x):
    return x.to(torch.bfloat16)


def product(a, b):
    return bf16(a.float() @ b.float())


def make_weights(c, generator):
    """Deviations as in cuda_proxy_support.hpp: embedding 0.7, matrices fan_in^-1/2, norms 1 +- 0.2, sinks 1."""
    d, hd, f = c["d_model"], c["head_dim"], c["ffn"]

    def normal(*dims, std=None):
        return torch.randn(*dims, generator=generator) * (dims[-1] ** -0.5 if std is None else std)

    w = {"model.embed_tokens.weight": normal(c["vocab"], d, std=0.7)}
    for i, (_, _, sink) in enumerate(layers_of(c["layout"])):
        p = f"model.layers.{i}."
        w[p + "self_attn.q_proj.weight"] = normal(c["heads"] * hd, d)
        w[p + "self_attn.k_proj.weight"] = normal(c["kv_heads"] * hd, d)
        w[p + "self_attn.v_proj.weight"] = normal(c["kv_heads"] * hd, d)
        w[p + "self_attn.o_proj.weight"] = normal(d, c["heads"] * hd)
        w[p + "input_layernorm.weight"] = 1 + normal(d, std=0.2)
        if sink:
            w[p + "self_attn.sinks"] = normal(c["heads"], std=1.0)
        if f > 0:
            w[p + "mlp.gate_proj.weight"] = normal(f, d)
            w[p + "mlp.up_proj.weight"] = normal(f, d)
            w[p + "mlp.down_proj.weight"] = normal(d, f)
            w[p + "post_attention_layernorm.weight"] = 1 + normal(d, std=0.2)
    w["model.norm.weight"] = 1 + normal(d, std=0.2)
    if not c["tied"]:
        w["lm_head.weight"] = normal(c["vocab"], d)
    return {name: t.float() for name, t in w.items()}


def rms_norm(x, weight):
    x = x.float()
    return bf16(weight * x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6))


def attention(c, w, prefix, h, window, rope, sink):
    B, T, _ = h.shape
    H, KV, hd = c["heads"], c["kv_heads"], c["head_dim"]
    q = product(h, bf16(w[prefix + "q_proj.weight"]).T).view(B, T, H, hd).transpose(1, 2)
    k = product(h, bf16(w[prefix + "k_proj.weight"]).T).view(B, T, KV, hd).transpose(1, 2)
    v = product(h, bf16(w[prefix + "v_proj.weight"]).T).view(B, T, KV, hd).transpose(1, 2)
    if rope:
        q, k = bf16(rotate(q.float(), 10000.0)), bf16(rotate(k.float(), 10000.0))
    k, v = k.repeat_interleave(H // KV, 1), v.repeat_interleave(H // KV, 1)
    scores = q.float() @ k.float().transpose(-1, -2) / math.sqrt(hd)
    i, j = torch.arange(T)[:, None], torch.arange(T)[None, :]
    seen = (j <= i) if window is None else (j <= i) & (j > i - window)
    scores = scores.masked_fill(~seen, -math.inf)
    if sink:
        column = w[prefix + "sinks"].view(1, H, 1, 1).expand(B, H, T, 1)
        weights = torch.cat([scores, column], -1).softmax(-1)[..., :-1]
    else:
        weights = scores.softmax(-1)
    out = product(bf16(weights), v).transpose(1, 2).reshape(B, T, H * hd)
    return product(out, bf16(w[prefix + "o_proj.weight"]).T)


def bf16_logits(c, w, tokens):
    x = bf16(w["model.embed_tokens.weight"][tokens])
    for i, (window, rope, sink) in enumerate(layers_of(c["layout"])):
        p = f"model.layers.{i}."
        h = rms_norm(x, w[p + "input_layernorm.weight"])
        x = x + attention(c, w, p + "self_attn.", h, window, rope, sink)
        if c["ffn"] > 0:
            h = rms_norm(x, w[p + "post_attention_layernorm.weight"])
            gate = product(h, bf16(w[p + "mlp.gate_proj.weight"]).T).float()
            up = product(h, bf16(w[p + "mlp.up_proj.weight"]).T).float()
            x = x + product(bf16(gate * torch.sigmoid(gate) * up), bf16(w[p + "mlp.down_proj.weight"]).T)
    head = w["model.embed_tokens.weight"] if c["tied"] else w["lm_head.weight"]
    return product(rms_norm(x, w["model.norm.weight"]), bf16(head).T)


def gradients(logits, w, tokens, targets):
    """The losses [B, T], and the gradient of their sum by weight."""
    loss = torch.nn.functional.cross_entropy(logits(w, tokens).transpose(1, 2), targets, ignore_index=-1,
                                             reduction="none")
    loss.sum().backward()
    return loss.detach().double(), {n: t.grad.double() for n, t in w.items()}


def errors_of(c):
    wrong, size = {}, {}
    for seed in range(TRIALS):
        generator = torch.Generator().manual_seed(seed + 1)
        master = make_weights(c, generator)
        dims = (c["batch"], c["context"])
        tokens = torch.randint(c["vocab"], dims, generator=generator)
        targets = torch.randint(c["vocab"], dims, generator=generator)
        targets[torch.rand(dims, generator=generator) < 0.2] = -1  # not scored
        exact_loss, exact = gradients(lambda w, t: logits_of({**c, "rope_theta": 10000.0}, w, t),
                                      {n: t.double().requires_grad_() for n, t in master.items()}, tokens, targets)
        loss, rounded = gradients(lambda w, t: bf16_logits(c, w, t).float(),
                                  {n: t.clone().requires_grad_() for n, t in master.items()}, tokens, targets)
        for name in ["loss", *exact]:
            a, b = (loss, exact_loss) if name == "loss" else (rounded[name], exact[name])
            wrong[name] = wrong.get(name, 0) + float(((a - b) ** 2).sum())
            size[name] = size.get(name, 0) + float((b**2).sum())
    return {name: round(math.sqrt(wrong[name] / size[name]), 6) for name in wrong}


def model(layout, d_model, heads, kv_heads, head_dim, ffn, vocab, context, batch, tied):
    c = dict(layout=layout, d_model=d_model, heads=heads, kv_heads=kv_heads, head_dim=head_dim, ffn=ffn, vocab=vocab,
             context=context, batch=batch, tied=tied, trials=TRIALS)
    return {**c, "errors": errors_of(c)}


if __name__ == "__main__":
    entries = [
        # Windows, NoPE, sinks, GQA 2:1, tied head.
        model("swa:4 full/nope swa:16/sink full/sink", 64, 2, 1, 32, 192, 64, 64, 2, True),
        # Untied head, NoPE on a window layer.
        model("swa:24/nope full swa:8/sink", 128, 2, 2, 64, 128, 96, 98, 2, False),
        # Widths that no fused kernel serves, no feed-forward block.
        model("full swa:5/nope", 96, 3, 3, 32, 0, 40, 50, 3, True),
        # The widest head.
        model("full/sink swa:64", 256, 2, 1, 128, 320, 128, 130, 2, False),
    ]
    path = GOLDEN / "bf16_errors.json"
    path.write_text("[\n" + ",\n".join(json.dumps(e) for e in entries) + "\n]\n")
    for e in entries:
        print(e["layout"], {n: v for n, v in e["errors"].items()})
