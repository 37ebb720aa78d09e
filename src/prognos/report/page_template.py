"""The templates of the report's pages."""

import jinja2


def page_template(name: str) -> jinja2.Template:
    """A template of the folder `templates`: everything is escaped, and a value that is not there is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("prognos.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["sentence"] = sentence
    return environment.get_template(name)


def sentence(text: str) -> str:
    """A note as others wrote it, with a capital and a full stop, unless it begins with a name such as a model's."""
    ended = text if text.endswith((".", "!", "?", ":")) else f"{text}."
    first = ended.split(" ", 1)[0]
    return ended[:1].upper() + ended[1:] if first.isalpha() else ended
