"""What model calls consumed."""

from pydantic import Field

from executus.data import Record


class Usage(Record):
    """Token counts of one model call, or the sum over a run.

    `input_tokens` and `output_tokens` are totals. The cache and reasoning counts are portions of
    them and are never added again (providers differ here; the adapters normalise). A run's usage
    includes every call it paid for: model steps, the closing answer, and compaction summaries.
    """

    input_tokens: int = Field(default=0, ge=0)
    """All tokens sent, cached ones included."""
    output_tokens: int = Field(default=0, ge=0)
    """All tokens produced, reasoning included."""
    cache_read_tokens: int = Field(default=0, ge=0)
    """Portion of the input that was served from the provider's prompt cache."""
    cache_write_tokens: int = Field(default=0, ge=0)
    """Portion of the input that was written to the provider's prompt cache."""
    reasoning_tokens: int = Field(default=0, ge=0)
    """Portion of the output that was reasoning."""
    model_calls: int = Field(default=0, ge=0)
    """Completed model calls."""

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cache_read_tokens=self.cache_read_tokens + other.cache_read_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            model_calls=self.model_calls + other.model_calls,
        )

    @property
    def total_tokens(self) -> int:
        """Input plus output; what a token limit counts."""
        return self.input_tokens + self.output_tokens
