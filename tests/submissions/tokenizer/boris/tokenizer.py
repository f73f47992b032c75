"""Tokenizer, week 4 (Boris). Got as far as merge_word, the rest on the weekend."""

import regex

PATTERN = regex.compile(r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")


def pretokenize(text, pattern=PATTERN):
    for ch in text:
        if 0xD800 <= ord(ch) < 0xE000:
            raise ValueError("text contains a surrogate")
    return [text[m.start():m.end()] for m in regex.finditer(pattern, text)]


def split_special_tokens(text, special_tokens):
    if "" in special_tokens:
        raise ValueError("special_tokens must not contain an empty string")
    by_length = sorted(special_tokens, key=len)
    parts, begin, i = [], 0, 0
    while i < len(text):
        match = ""
        for special in by_length:  # the longest comes last and stays
            if text[i:].startswith(special):
                match = special
        if match:
            parts.append(text[begin:i])
            parts.append(match)
            i = i + len(match)
            begin = i
        else:
            i = i + 1
    parts.append(text[begin:])
    return [part for part in parts if part]


def stream_pieces(chunks, special_tokens=()):
    rest = ""
    for chunk in chunks:
        rest = rest + chunk
        # everything before a blank is safe if the blank is not inside of a special token
        for i in range(len(rest) - 1, 0, -1):
            if rest[i] in " \n" and not rest[i - 1].isspace():
                if not any(crosses(rest, i, special) for special in special_tokens):
                    for part in split_special_tokens(rest[:i], special_tokens):
                        if part in special_tokens:
                            yield part
                        else:
                            yield from pretokenize(part)
                    rest = rest[i:]
                    break
    for part in split_special_tokens(rest, special_tokens):
        if part in special_tokens:
            yield part
        else:
            yield from pretokenize(part)


def crosses(text, i, special):
    for start in range(max(0, i - len(special)), i):
        seen = text[start:start + len(special)]
        if start + len(special) > i and special.startswith(seen):
            return True
    return False


def count_pairs(words):
    pairs = {}
    for word in words:
        for i in range(len(word) - 1):
            pairs.setdefault((word[i], word[i + 1]), 0)
            pairs[(word[i], word[i + 1])] += words[word]
    return pairs


def merge_word(word, pair):
    if len(word) < 2:
        return word
    if word[:2] == pair:
        return (pair[0] + pair[1],) + merge_word(word[2:], pair)
    return word[:1] + merge_word(word[1:], pair)


def train_bpe(text_or_path, vocab_size, special_tokens=()):
    raise NotImplementedError("Task 4.6")


def encode_word(word, ranks):
    raise NotImplementedError("Task 4.7")


class Tokenizer:
    def __init__(self, vocab, merges, special_tokens=()):
        raise NotImplementedError("Task 4.8")
