"""What a reader does with a page, again where the table was being drawn at that moment."""

TRIES = 10
MILLISECONDS = 3000


def open_row(row, key=None):
    """Click on a row, or press a key on it, until its dialog is open: a row that is replaced just then is not hit."""
    from playwright.sync_api import TimeoutError

    dialog = row.page.locator("dialog[open]")
    for _ in range(TRIES):
        if key is None:
            row.click()
        else:
            row.press(key)
        try:
            dialog.wait_for(timeout=MILLISECONDS)
        except TimeoutError:
            continue
        return
    raise AssertionError("the row does not open")
