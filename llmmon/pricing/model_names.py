"""Model and provider names as logs spell them, taken apart for looking up a price; the log's own name stays."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

# spelling in lower case with dashes -> provider of the price list
_PROVIDERS: Final[dict[str, str]] = {
    "azure": "azure",
    "az-ai-openai": "azure",
    "az-ai-inference": "azure",
    "aws": "aws",
    "amazon": "aws",
    "sagemaker": "aws",
    "google": "google",
    "gcp": "google",
    "palm": "google",
    "anthropic": "anthropic",
    "openai": "openai",
    "text-completion-openai": "openai",
    "mistral": "mistral",
    "mistral-ai": "mistral",
    "mistralai": "mistral",
    "cohere": "cohere",
    "cohere-chat": "cohere",
    "deepseek": "deepseek",
    "xai": "x-ai",
    "x-ai": "x-ai",
    "groq": "groq",
    "together": "together",
    "together-ai": "together",
    "fireworks": "fireworks",
    "fireworks-ai": "fireworks",
    "perplexity": "perplexity",
    "cerebras": "cerebras",
    "openrouter": "openrouter",
    "novita": "novita",
    "moonshot": "moonshotai",
    "moonshotai": "moonshotai",
    "voyage": "voyageai",
    "voyageai": "voyageai",
    "minimax": "minimax",
    "zai": "zai",
    "z-ai": "zai",
    "databricks": "databricks",
    "cloudflare": "cloudflare",
    "github-copilot": "github-copilot",
}
_PROVIDER_PARTS: Final = (("azure", "azure"), ("bedrock", "aws"), ("vertex", "google"), ("gemini", "google"))
# organisations of model hubs that are also providers: as a prefix they name weights, not who serves them
_HUB_ONLY: Final = frozenset({"mistralai"})
_SELF_HOSTED: Final = frozenset(
    "vllm hosted-vllm ollama ollama-chat lm-studio lmstudio llamacpp llama-cpp llamafile sglang tgi local localhost "
    "text-generation-inference xinference triton self-hosted selfhosted "
    "openai-compatible openai-like custom-openai".split()
)
# sell other vendors' models at about the vendors' prices: the vendor's own price is a fair guess
_RESELLERS: Final = frozenset({"azure", "aws", "google", "openrouter"})
# first words of model names that the price list does not attribute to a provider by itself
_VENDOR_PREFIXES: Final = (
    ("text-embedding-3", "openai"),
    ("text-embedding-ada", "openai"),
    ("chatgpt-", "openai"),
    ("codex-", "openai"),
    ("computer-use", "openai"),
    ("ft:", "openai"),
    ("davinci-", "openai"),
    ("babbage-", "openai"),
    ("text-embedding-0", "google"),
    ("text-multilingual-embedding", "google"),
    ("whisper-1", "openai"),
    ("tts-1", "openai"),
    ("sonar", "perplexity"),
    ("mistral-ocr", "mistral"),
    ("embed-", "cohere"),
    ("rerank-", "cohere"),
)
_BEDROCK: Final = re.compile(
    r"^(?:[a-z]{2,6}(?:-gov)?\.)?(?:anthropic|amazon|meta|cohere|mistral|ai21|deepseek|stability|openai|qwen|writer)\."
)
_PATH_WORD: Final = re.compile(
    r"^(?:[a-z]{2}(?:-[a-z]+)+-?\d|us|eu|global|global-standard|data-zone|converse|invoke|chat|models)$"
)
_DATE: Final = re.compile(r"(?:[-@](?:20\d{2}-?\d{2}-?\d{2}|\d{4}|\d{3}|latest|preview|default)|@[\w.]+)$")
_ROUTE: Final = re.compile(r":(?:online|nitro|floor|beta|extended|thinking|exacto)$")
_REGION: Final = re.compile(r"^(?:us|eu|apac|ap|jp|au|ca|sa|global|us-gov)\.(?=[a-z0-9]+\.)")
_CLAUDE: Final = re.compile(r"^claude-(opus|sonnet|haiku)-(\d)[.-](\d)(?=$|[-@])")
_COMPACT_DATE: Final = re.compile(r"-(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")
_FREE: Final = ":free"
# weights on a server of one's own: tags of Ollama, quantized weights, files
_WEIGHTS: Final = re.compile(
    r":(?:e?\d+(?:\.\d+)?[bm]|\d+x\d+b|latest)(?:$|[-:])"
    r"|(?:^|[-_./])(?:awq|gptq|gguf|ggml|exl2|mlx|bnb|nf4|int[48]|[48]bit|w4a16|w8a8|i?q[2-8]_[0-9k]\w*)(?:$|[-_./:])"
    r"|\.(?:gguf|safetensors|bin|pt|onnx)$|^(?:/|\./|\.\./|~|[a-z]:[\\/]|file:)"
)


class Reference(msgspec.Struct, frozen=True):
    """One way to look a model up: `provider` None means whoever the name belongs to."""

    provider: str | None
    model: str
    guessed: bool = False


class ModelName(msgspec.Struct, frozen=True):
    """What a logged model name and provider say."""

    model: str  # in lower case, as logged
    bare: str  # without prefixes
    free: bool
    self_hosted: bool
    references: tuple[Reference, ...]  # best first

    @property
    def providers(self) -> frozenset[str | None]:
        """The providers named by the log or by a prefix."""
        return frozenset(reference.provider for reference in self.references)


def provider_of(text: str | None, listed: frozenset[str] = frozenset()) -> str | None:
    """The price list's name of a provider as logged, or None; `listed` are the names that the list itself has."""
    spelt = _spelt(text)
    if spelt in _SELF_HOSTED:
        return None
    parts = (provider for part, provider in _PROVIDER_PARTS if part in spelt)
    return _PROVIDERS.get(spelt) or next(parts, None) or (spelt if spelt in listed else None)


def is_self_hosted(text: str | None) -> bool:
    """Whether a provider or prefix names a server of one's own, whose prices no list knows."""
    return _spelt(text) in _SELF_HOSTED


def _spelt(text: str | None) -> str:
    return re.sub(r"[\s_.]+", "-", (text or "").strip().casefold())


def vendor_of(model: str) -> str | None:
    """The provider that a bare model name belongs to, where the price list cannot tell."""
    if _BEDROCK.match(model):
        return "aws"
    return next((provider for prefix, provider in _VENDOR_PREFIXES if model.startswith(prefix)), None)


def parse(model: str, provider: str | None, listed: frozenset[str] = frozenset()) -> ModelName:
    """A logged model and provider, as the references to try in order; `listed`: see `provider_of`."""
    name = model.strip().casefold()
    named = provider_of(provider, listed)
    steps = list(_without_prefixes(name, named, listed))
    bare = steps[-1][1]
    hosted = is_self_hosted(provider) or any(is_self_hosted(part) for part in name.split("/")[:-1])
    hosted |= named is None and steps[-1][0] is None and _WEIGHTS.search(name) is not None
    exact = list(dict.fromkeys(_references(steps, named)))
    known = [reference.provider for reference in exact]
    guesses = [Reference(p, ref, guessed=True) for ref in _altered(bare) for p in dict.fromkeys(known)]
    return ModelName(name, bare, name.endswith(_FREE), hosted, tuple(exact + guesses))


def _without_prefixes(name: str, provider: str | None, listed: frozenset[str]) -> Iterator[tuple[str | None, str]]:
    """(provider, name) with ever fewer path parts; stops at a part that is neither provider nor region."""
    yield provider, name
    if name.startswith("arn:"):
        provider, name = "aws", name.rpartition("/")[2]
        yield provider, name
    _, path, rest = name.rpartition("publishers/")
    if path and "/models/" in rest:
        provider, name = "google", rest.partition("/models/")[2]
        yield provider, name
    while "/" in name:
        head, _, rest = name.partition("/")
        found = None if head in _HUB_ONLY else provider_of(head, listed)
        if found is None and not _PATH_WORD.match(head):
            return
        provider, name = found or provider, rest
        yield provider, name


def _references(steps: list[tuple[str | None, str]], named: str | None) -> Iterator[Reference]:
    for prefix, name in steps:
        if named is not None:
            yield Reference(named, name)
        if prefix is not None:
            yield Reference(prefix, name)
        dashed = _COMPACT_DATE.sub(r"-\1-\2-\3", name)
        if dashed != name:
            yield Reference(named or prefix, dashed)
    last_prefix, bare = steps[-1]
    vendor = vendor_of(bare)
    if vendor is not None and named in {None, *_RESELLERS}:
        yield Reference(vendor, bare, guessed=named is not None)
    if last_prefix is None:
        yield Reference(None, bare)
    elif last_prefix in _RESELLERS:
        yield Reference(None, bare, guessed=True)


def _altered(bare: str) -> Iterator[str]:
    """The name with its version spelt otherwise, without route, region and date: these are guesses."""
    for spelling in (r"claude-\2-\3-\1", r"claude-\1-\2-\3"):
        if _CLAUDE.match(bare):
            yield _CLAUDE.sub(spelling, bare)
    for pattern in (_ROUTE, _REGION, _DATE):
        shorter = pattern.sub("", bare)
        if shorter != bare:
            yield shorter
            bare = shorter
