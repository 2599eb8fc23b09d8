'use strict';
// Parts of a page that refresh themselves: <div data-live="address" data-every="5">. They rest while the tab is
// hidden, wait longer while the console does not answer and say since when, and stop when the session ended.
{
    const LONGEST_PAUSE = 60;
    const TIMEOUT = 10;

    for (const part of document.querySelectorAll('[data-live]')) {
        follow(part);
    }

    function follow(part) {
        const every = Number(part.dataset.every);
        let pause = every;
        let timer = null;
        let goodAt = new Date();

        async function refresh() {
            timer = null;
            try {
                const answer = await fetch(part.dataset.live, {
                    headers: {'X-Poll': '1'},
                    redirect: 'error',
                    signal: AbortSignal.timeout(TIMEOUT * 1000),
                });
                if (answer.status === 401 || answer.status === 403) {
                    note(part, 'Your session has ended: what you see is from ' + clock(goodAt) + '.', true);
                    return;
                }
                if (answer.status === 205) {
                    location.reload();
                    return;
                }
                if (!answer.ok) {
                    throw new Error(answer.statusText);
                }
                replace(part, await answer.text());
                goodAt = new Date();
                pause = every;
                note(part, '');
            } catch {
                pause = Math.min(pause * 2, LONGEST_PAUSE);
                note(part, 'Stale since ' + clock(goodAt) + ': the console does not answer. Trying again.');
            }
            wait();
        }

        function wait() {
            if (!document.hidden && timer === null) {
                timer = setTimeout(refresh, pause * 1000);
            }
        }

        document.addEventListener('visibilitychange', () => {
            clearTimeout(timer);
            timer = null;
            if (!document.hidden) {
                refresh();
            }
        });
        wait();
    }

    // Whoever is on a link of the part by keyboard stays on it, and what was opened stays open.
    function replace(part, html) {
        const links = () => [...part.querySelectorAll('a, button, summary')];
        const place = links().indexOf(document.activeElement);
        const folded = new Map([...part.querySelectorAll('details[id]')].map(each => [each.id, each.open]));
        part.innerHTML = html;
        for (const each of part.querySelectorAll('details[id]')) {
            each.open = folded.get(each.id) ?? each.open;
        }
        if (place >= 0) {
            links()[place]?.focus({preventScroll: true});
        }
    }

    function note(part, words, ended = false) {
        const place = part.parentElement.querySelector('[data-live-note]');
        part.classList.toggle('stale', words !== '');
        if (!place || place.dataset.words === words) {
            return;
        }
        place.dataset.words = words;
        place.hidden = words === '';
        place.textContent = words;
        if (ended) {
            const link = document.createElement('a');
            link.href = location.href;
            link.textContent = 'Log in again';
            place.append(' ', link);
        }
    }

    function clock(time) {
        return time.toISOString().slice(11, 19) + ' UTC';
    }
}
