'use strict';
// Copying an id, '/' for the search, closing menus by a click beside them or Escape, and tabs that scroll on a phone. Every page works without this file.
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

    // Within their own line: the page stays where it is.
    document.querySelectorAll('.tabs [aria-current]').forEach((tab) => {
        const line = tab.parentElement;
        line.scrollLeft += tab.getBoundingClientRect().left - line.getBoundingClientRect().left
            - (line.clientWidth - tab.offsetWidth) / 2;
    });

    function closePopovers(chosen) {
        document.querySelectorAll('details[name=popover][open]').forEach((popover) => {
            if (chosen(popover)) {
                popover.open = false;
            }
        });
    }
}
