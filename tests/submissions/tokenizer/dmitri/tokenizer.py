"""My tokenizer (Dmitri)."""

import json

import regex

P = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def check_text(text):
    try:
        return text.encode()
    except UnicodeEncodeError as e:
        raise ValueError(f"text can not be encoded: {e.reason}")


def pretokenize(text, pattern=P):
    check_text(text)
    return [m[0] for m in regex.finditer(pattern, text)]


def split_special_tokens(text, special_tokens):
    for s in special_tokens:
        if not s:
            raise ValueError("special_tokens with an empty token")
    if len(special_tokens) == 0:
        return [] if text == "" else [text]
    options = "|".join([regex.escape(s) for s in sorted(special_tokens, key=len, reverse=True)])
    return [t for t in regex.split("(" + options + ")", text) if t != ""]


def all_pieces(text, special_tokens):
    result = []
    for part in split_special_tokens(text, special_tokens):
        result += [part] if part in special_tokens else pretokenize(part)
    return result


def stream_pieces(chunks, special_tokens=()):
    # A blank after something else begins a new piece. Cut there, but not inside a special token, nor so near to
    # the end that one could still come to lie across.
    margin = max([len(s) for s in special_tokens], default=1)
    held = ""
    for chunk in chunks:
        held += chunk
        for i in range(len(held) - margin, 0, -1):
            if held[i] in " \n\t" and not held[i - 1].isspace():
                around = held[max(0, i - margin + 1):i + margin - 1]
                here = i - max(0, i - margin + 1)
                if all(around.find(s, max(0, here - len(s) + 1), here + len(s) - 1) < 0 for s in special_tokens):
                    yield from all_pieces(held[:i], special_tokens)
                    held = held[i:]
                    break
    yield from all_pieces(held, special_tokens)


def count_pairs(words):
    d = {}
    for w, n in words.items():
        for a, b in zip(w[:-1], w[1:]):
            d[(a, b)] = d.get((a, b), 0) + n
    return d


def merge_word(word, pair):
    tokens = list(word)
    i = 0
    while i + 1 < len(tokens):
        if (tokens[i], tokens[i + 1]) == pair:
            tokens[i] = tokens[i] + tokens.pop(i + 1)
        i += 1
    return tuple(tokens)


def single(b):
    return tuple([b[i:i + 1] for i in range(len(b))])


def train_bpe(text_or_path, vocab_size, special_tokens=()):
    if 256 + len(special_tokens) > vocab_size:
        raise ValueError(f"vocab_size = {vocab_size} < 256 + {len(special_tokens)}")
    text = text_or_path if type(text_or_path) is str else text_or_path.read_bytes().decode("utf-8")
    words = {}
    for piece in all_pieces(text, special_tokens):
        if piece not in special_tokens:
            w = single(piece.encode())
            words[w] = 1 + words.get(w, 0)
    vocab = {i: bytes([i]) for i in range(256)}
    merges = []
    for new_id in range(256, vocab_size - len(special_tokens)):
        d = count_pairs(words)
        if d == {}:
            break
        best = None
        for pair in d:
            if best is None or d[pair] > d[best] or (d[pair] == d[best] and pair > best):
                best = pair
        merges.append(best)
        vocab[new_id] = best[0] + best[1]
        words = dict([(merge_word(w, best), n) for w, n in words.items()])
    for s in special_tokens:
        vocab[max(vocab) + 1] = s.encode()
    return vocab, merges


def encode_word(word, ranks):
    w = single(word)
    while len(w) > 1:
        pairs = [p for p in zip(w, w[1:]) if p in ranks]
        if pairs == []:
            break
        w = merge_word(w, min(pairs, key=lambda p: ranks[p]))
    return list(w)


class Tokenizer:
    def __init__(self, vocab, merges, special_tokens=()):
        have = set(vocab.values())
        for i in range(256):
            if bytes([i]) not in have:
                raise ValueError(f"vocab without byte {i}")
        for a, b in merges:
            if a + b not in have:
                raise ValueError(f"vocab without {a + b}")
        self.vocab = dict(vocab)
        self.merges = list(merges)
        self.special_tokens = list(special_tokens)
        for s in special_tokens:
            if s.encode() not in have:
                self.vocab[max(self.vocab) + 1] = s.encode()
        self.inverse = {t: i for i, t in self.vocab.items()}
        self.ranks = {}
        for r, p in enumerate(merges):
            if p not in self.ranks:
                self.ranks[p] = r
        self.cache = {}

    def piece_ids(self, piece):
        if piece not in self.cache:
            b = piece.encode()
            tokens = [b] if piece in self.special_tokens else encode_word(b, self.ranks)
            self.cache[piece] = [self.inverse[t] for t in tokens]
        return self.cache[piece]

    def encode(self, text):
        ids = []
        for piece in all_pieces(text, self.special_tokens):
            ids += self.piece_ids(piece)
        return ids

    def encode_iterable(self, chunks):
        for piece in stream_pieces(chunks, self.special_tokens):
            yield from self.piece_ids(piece)

    def decode(self, token_ids):
        text = ""
        for i in token_ids:
            if i not in self.vocab:
                raise ValueError(f"token_ids: {i} is not in vocab")
            text += self.vocab[i].decode(errors="replace")
        return text

    def save(self, path):
        f = open(path, "w")
        f.write(json.dumps({
            "vocab": {i: t.decode("latin-1") for i, t in self.vocab.items()},
            "merges": [[a.decode("latin-1"), b.decode("latin-1")] for a, b in self.merges],
            "special_tokens": self.special_tokens,
        }))
        f.close()

    @classmethod
    def load(cls, path):
        f = open(path)
        d = json.loads(f.read())
        f.close()
        vocab = {int(i): t.encode("latin-1") for i, t in d["vocab"].items()}
        merges = [(a.encode("latin-1"), b.encode("latin-1")) for a, b in d["merges"]]
        return cls(vocab, merges, d["special_tokens"])
