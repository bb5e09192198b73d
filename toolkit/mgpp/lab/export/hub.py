"""Hand a folder to the hub's own library, which knows where it goes and who asks."""

from pathlib import Path

from mgpp.lab.export.packed import ExportError


def check_name(name: str) -> None:
    """Refuse what can't be the name of a repository, before anything is written.

    Raises:
        ExportError: if it can't.

    Example:
        >>> check_name("someone/minilm-pruned")
    """
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ExportError(f"push_to_hub={name!r} is no name of a repository, such as me/my-model: {error}") from None


def upload(folder: Path, name: str) -> str:
    """Upload a folder to the repository `name`, which is made if it is not there; the address of the upload.

    Who asks is the hub library's matter: `hf auth login`, or HF_TOKEN.

    Raises:
        ExportError: if the hub refuses or can't be reached. The folder stays.

    Example:
        >>> upload(Path("my-model"), "me/my-model")  # doctest: +SKIP
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError, LocalTokenNotFoundError

    api = HfApi()
    try:
        repository = api.create_repo(name, exist_ok=True).repo_id
        return str(api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Exported by mgpp"))
    except (HTTPError, LocalTokenNotFoundError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ExportError(
            f"{folder} is written, but could not be uploaded to {name}: {reason}; hf auth login, then "
            f"hf upload {name} {folder}"
        ) from None
