"""Makes table.bin of the encoder in the folder that is named; README.md says where it is from. Needs numpy and scipy."""
import json, pathlib, struct, sys

import numpy as np
from scipy.special import erf

LAYERS, HEADS, WIDTH, KEPT = 6, 12, 384, 128
# Special pieces and single characters come first in the vocabulary; from here on it is ordered by frequency.
FREQUENT_FROM = 998


def tensors(path):
    raw = path.read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    head = json.loads(raw[8 : 8 + size])

    def get(name):
        about = head[name]
        begin, end = about["data_offsets"]
        return np.frombuffer(raw[8 + size + begin : 8 + size + end], "<f4").reshape(about["shape"])

    return get


def encoder(get):
    def norm(x, name):
        mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) / np.sqrt(var + 1e-12) * get(name + ".weight") + get(name + ".bias")

    def linear(x, name):
        return x @ get(name + ".weight").T + get(name + ".bias")

    def encode(ids):
        rows, length = ids.shape
        words = get("embeddings.word_embeddings.weight")[ids]
        places = get("embeddings.position_embeddings.weight")[:length][None]
        x = norm(words + places + get("embeddings.token_type_embeddings.weight")[0], "embeddings.LayerNorm")
        for layer in range(LAYERS):
            at = f"encoder.layer.{layer}."
            q, k, v = (
                linear(x, f"{at}attention.self.{it}").reshape(rows, length, HEADS, -1).transpose(0, 2, 1, 3)
                for it in ("query", "key", "value")
            )
            score = q @ k.transpose(0, 1, 3, 2) / np.sqrt(WIDTH / HEADS)
            score = np.exp(score - score.max(-1, keepdims=True))
            score /= score.sum(-1, keepdims=True)
            mixed = (score @ v).transpose(0, 2, 1, 3).reshape(rows, length, WIDTH)
            x = norm(linear(mixed, at + "attention.output.dense") + x, at + "attention.output.LayerNorm")
            y = linear(x, at + "intermediate.dense")
            y = y * 0.5 * (1 + erf(y / np.sqrt(2)))
            x = norm(linear(y, at + "output.dense") + x, at + "output.LayerNorm")
        mean = x.mean(1)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)

    return encode


def main(folder):
    get = tensors(folder / "model.safetensors")
    vocabulary = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    count = len(get("embeddings.word_embeddings.weight"))
    vocabulary = vocabulary[:count]
    begin, end = vocabulary.index("[CLS]"), vocabulary.index("[SEP]")
    encode = encoder(get)
    parts = [
        encode(np.stack([np.full(len(it), begin), it, np.full(len(it), end)], 1))
        for it in np.array_split(np.arange(count), 240)
    ]
    x = np.concatenate(parts)
    keep = np.array([not it.startswith("[") or len(it) == 1 for it in vocabulary])
    x = x - x[keep].mean(0)
    _, axes = np.linalg.eigh(x[keep].T @ x[keep])
    x = x @ axes[:, ::-1][:, :KEPT]
    length = np.linalg.norm(x, axis=1, keepdims=True)
    rows = np.round(x / np.maximum(length, 1e-9) * 127).astype(np.int8)
    rank = np.maximum(1, np.arange(count) - FREQUENT_FROM)
    frequency = 1 / (rank + 2.7) / np.log(count)
    rarity = 1e-3 / (1e-3 + frequency)
    weight = np.clip(np.round(rarity * length[:, 0] / length[keep, 0].mean() * 128), 1, 255)
    weight[~keep] = 0
    out = count.to_bytes(4, "little") + weight.astype(np.uint8).tobytes() + rows.tobytes()
    out += ("\n".join(vocabulary) + "\n").encode()
    (pathlib.Path(__file__).parent / "table.bin").write_bytes(out)


main(pathlib.Path(sys.argv[1]))
