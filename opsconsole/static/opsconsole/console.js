'use strict';
// Copying an id, '/' for the search, and closing menus by a click beside them or Escape. Every page works without this file.
{
    document.addEventListener('click', async (event) => {
        const button = event.target.closest('button.copy');
        if (button && navigator.clipboard) {
            await navigator.clipboard.writeText(button.dataset.copy);
            button.classList.add('copied');
            button.addEventListener('blur', () => button.classList.remove('copied'), {once: true});
        }
        closePopovers((popover) => !popover.contains(event.target));
    });

    document.addEventListener('keydown', (event) => {
        const search = document.getElementById('console-search-term');
        if (event.key === '/' && search && !event.target.closest('input, textarea, select, [contenteditable]')) {
            event.preventDefault();
            search.focus();
        }
        if (event.key === 'Escape') {
            closePopovers((popover) => {
                if (popover.contains(document.activeElement)) {
                    popover.querySelector('summary').focus();
                }
                return true;
            });
        }
    });

    function closePopovers(chosen) {
        document.querySelectorAll('details[name=popover][open]').forEach((popover) => {
            if (chosen(popover)) {
                popover.open = false;
            }
        });
    }
}
