'use strict';
// Parts of a page that refresh themselves: <div data-live="address" data-every="5">, or with data-parts="#one #other" the
// named parts of the page. They rest while the tab is hidden or somebody paused them, wait longer while the console does
// not answer and say since when, and stop when the session ended. Nothing moves under somebody's hands: while the cursor
// or the keyboard is in a line of a list, or a line is selected, its lines stay and the newer ones are counted; while text
// is selected, nothing changes at all.
{
    const LONGEST_PAUSE = 60;
    const TIMEOUT = 10;
    // With what somebody writes stays the version that they began with: whoever changed it since is told of when it is sent. A
    // form that nobody touched is shown anew, with what it is about.
    const VERSION = 'input[name=version], input[name$="-version"]';
    const HANDS_OFF = `input:not([type=hidden]), textarea, select, ${VERSION}`;

    const WRITTEN = '#content form input[id]:not([type=hidden]), #content form textarea[id], #content form select[id]';

    for (const bar of document.querySelectorAll('[data-live]')) {
        follow(bar);
    }

    function follow(bar) {
        const every = Number(bar.dataset.every);
        const parts = (bar.dataset.parts ?? '').split(' ').filter(Boolean);
        const within = (name) => bar.querySelector(`[data-live-${name}]`) ?? bar.parentElement.querySelector(`[data-live-${name}]`);
        const [note, state, newer, button] = ['note', 'state', 'newer', 'pause'].map(within);
        // Where a part is a piece of the page, what tells of it stands beside it.
        const told = within('told') ?? bar;
        let pause = every;
        let timer = null;
        let goodAt = new Date();
        let etag = null;
        let waiting = null;
        let paused = false;
        let over = false;

        bar.hidden = false;
        told.hidden = false;
        document.querySelectorAll('[data-without-script]').forEach(each => each.remove());

        async function refresh() {
            timer = null;
            try {
                const headers = etag ? {'X-Poll': '1', 'If-None-Match': etag} : {'X-Poll': '1'};
                const answer = await fetch(bar.dataset.live, {
                    headers, redirect: 'error', cache: 'no-store', signal: AbortSignal.timeout(TIMEOUT * 1000),
                });
                if (answer.status === 401) {
                    say('Your session has ended: what you see is from ' + clock(goodAt) + '.', 'Log in again');
                    end();
                    return;
                }
                if (answer.status === 403) {
                    say('Your role no longer allows this page: what you see is from ' + clock(goodAt) + '.', 'Reload');
                    end();
                    return;
                }
                if (answer.status === 410) {
                    say('This is no longer stored: what you see is from ' + clock(goodAt) + '.');
                    end();
                    return;
                }
                if (answer.status === 205) {
                    location.reload();
                    return;
                }
                if (answer.status === 200) {
                    waiting = new DOMParser().parseFromString(await answer.text(), 'text/html');
                } else if (answer.status !== 304) {
                    throw new Error(answer.statusText);
                }
                etag = answer.headers.get('ETag');
                goodAt = new Date();
                pause = every;
                say('');
            } catch {
                pause = Math.min(pause * 2, LONGEST_PAUSE);
                say('Stale since ' + clock(goodAt) + ': the console does not answer. Trying again.');
            }
            show();
            wait();
        }

        // Shows what was fetched, as far as nobody's hands are on the page.
        function show(asked = false) {
            if (waiting && (asked || !textIsSelected(bar))) {
                const moved = parts.length ? showParts(waiting, parts, asked) : showWithin(bar, waiting);
                if (!moved) {
                    waiting = null;
                }
                tellNewer(moved);
            }
            tellState();
        }

        function tellNewer(moved) {
            if (newer) {
                newer.hidden = !moved;
                const words = moved ? (moved.newer ? moved.newer + ' newer' : 'The list has changed') : '';
                if (newer.textContent !== words) {
                    newer.textContent = words;
                }
            }
        }

        function tellState() {
            if (state) {
                state.textContent = over ? '' : paused ? 'Paused. From ' + clock(goodAt) : (isStale() ? 'From ' + age(goodAt) + ' ago' : 'Live, ' + clock(goodAt));
            }
        }

        function wait() {
            if (!document.hidden && !paused && !over && timer === null) {
                timer = setTimeout(refresh, pause * 1000);
            }
        }

        function rest() {
            clearTimeout(timer);
            timer = null;
        }

        function end() {
            over = true;
            button?.setAttribute('hidden', '');
            tellState();
        }

        const isStale = () => note?.dataset.words > '';

        function say(words, link = '') {
            for (const part of parts.length ? document.querySelectorAll('#content') : [bar]) {
                part.classList.toggle('stale', words !== '');
            }
            if (!note || (note.dataset.words ?? '') === words) {
                return;
            }
            note.dataset.words = words;
            note.hidden = words === '';
            note.textContent = words;
            if (link) {
                const back = document.createElement('a');
                back.href = location.href;
                back.textContent = link;
                note.append(' ', back);
            }
        }

        button?.addEventListener('click', () => {
            paused = !paused;
            button.textContent = paused ? 'Resume updates' : 'Pause updates';
            told.classList.toggle('paused', paused);
            rest();
            tellState();
            if (!paused) {
                refresh();
            }
        });
        newer?.addEventListener('click', () => show(true));
        document.addEventListener('visibilitychange', () => {
            rest();
            if (!document.hidden && !paused && !over) {
                refresh();
            }
        });
        // While the console does not answer, what is shown grows older between two tries.
        setInterval(() => isStale() && tellState(), 1000);
        tellState();
        wait();
    }

    // Replaces what an older kind of part shows, which is all of it.
    function showWithin(bar, fresh) {
        patchChildren(bar, fresh.body, false);
        return null;
    }

    // Returns what did not move because somebody works in the list: how many lines are newer; null when all is shown.
    function showParts(fresh, parts, asked) {
        const before = document.getElementById('changelist-form');
        const after = fresh.getElementById('changelist-form');
        const moved = before && after && difference(before, after);
        const held = Boolean(moved) && !asked && isInUse(before);
        if (moved && !held) {
            replaceList(before, after);
        }
        const written = [...document.querySelectorAll(WRITTEN)].filter(field => !isAsDelivered(field))
            .map(field => ({field, version: field.form.querySelector(VERSION)?.value}));
        for (const part of parts) {
            const shown = document.querySelector(part);
            const now = fresh.querySelector(part);
            if (shown && now) {
                patchChildren(shown, now, held);
            }
        }
        written.forEach(carryOver);
        const menu = document.querySelector('.menu > nav');
        const navigation = fresh.getElementById('console-nav');
        if (menu && navigation) {
            patchChildren(menu, navigation, false);
        }
        return held ? moved : null;
    }

    function textIsSelected(bar) {
        const selection = document.getSelection();
        const place = bar.dataset.parts ? document.getElementById('content') : bar;
        return !selection.isCollapsed && place !== null && selection.containsNode(place, true);
    }

    // A line that is pointed at, selected or used by keyboard, or a list whose beginning was scrolled away.
    function isInUse(list) {
        const focused = document.activeElement;
        return list.querySelector('tbody tr:hover, input.action-select:checked') !== null
            || (focused !== document.body && list.contains(focused))
            || list.getBoundingClientRect().top < 0;
    }

    function rowsOf(list) {
        return [...list.querySelectorAll('tr[data-row]')].map(row => row.dataset.row);
    }

    // How the lines of two lists differ; null when they are the same ones in the same order.
    function difference(before, after) {
        const [old, now] = [rowsOf(before), rowsOf(after)];
        if (old.length === now.length && old.every((row, place) => row === now[place])) {
            return null;
        }
        const known = new Set(old);
        return {newer: now.filter(row => !known.has(row)).length};
    }

    // A new list, to which the script of the admin's actions is bound anew; what was selected stays selected.
    function replaceList(before, after) {
        const ticked = new Set([...before.querySelectorAll('input.action-select:checked')].map(box => box.value));
        const list = document.importNode(after, true);
        before.replaceWith(list);
        const boxes = list.querySelectorAll('tr input.action-select');
        if (boxes.length && window.Actions) {
            window.Actions(boxes);
        }
        for (const box of boxes) {
            if (ticked.has(box.value)) {
                box.checked = true;
                box.dispatchEvent(new Event('change', {bubbles: true}));
            }
        }
    }

    // Makes the shown elements equal to the fresh ones, and keeps each that is there already: with it stay the focus, what
    // was opened, and what somebody wrote. ``held``: the lines of lists stay where they are.
    function patchChildren(shown, fresh, held) {
        const named = new Map([...shown.children].filter(nameOf).map(each => [nameOf(each), each]));
        let place = shown.firstChild;
        for (const now of [...fresh.childNodes]) {
            const known = named.get(nameOf(now));
            const match = known ?? (place && !nameOf(place) && !nameOf(now) && place.nodeName === now.nodeName ? place : null);
            if (!match) {
                shown.insertBefore(document.importNode(now, true), place);
                continue;
            }
            if (match === place) {
                place = place.nextSibling;
            } else {
                shown.insertBefore(match, place);
            }
            patch(match, now, held);
        }
        while (place) {
            const gone = place;
            place = place.nextSibling;
            gone.remove();
        }
    }

    function nameOf(node) {
        const name = node.id || node.dataset?.row;
        return name ? node.nodeName + name : '';
    }

    function patch(shown, now, held) {
        if (shown.nodeType !== Node.ELEMENT_NODE) {
            if (shown.nodeValue !== now.nodeValue) {
                shown.nodeValue = now.nodeValue;
            }
            return;
        }
        if (shown.matches(HANDS_OFF) || shown.isEqualNode(now)) {
            return;
        }
        if (shown.matches('form') && versionOf(shown) !== versionOf(now) && isUntouched(shown)) {
            shown.replaceWith(document.importNode(now, true));
            return;
        }
        if (held && shown.id === 'changelist-form') {
            patchLines(shown, now);
            return;
        }
        for (const {name, value} of [...now.attributes]) {
            if (shown.getAttribute(name) !== value && !isOwn(shown, name)) {
                shown.setAttribute(name, value);
            }
        }
        for (const {name} of [...shown.attributes]) {
            if (!now.hasAttribute(name) && !isOwn(shown, name)) {
                shown.removeAttribute(name);
            }
        }
        // The bar of actions counts what is selected.
        if (!shown.matches('.actions')) {
            patchChildren(shown, now, held);
        }
    }

    // Without the time and the signature behind it.
    function versionOf(form) {
        return form.querySelector(VERSION)?.value.split(':')[0];
    }

    function isUntouched(form) {
        return !form.contains(document.activeElement) && [...form.querySelectorAll('input, textarea, select')].every(isAsDelivered);
    }

    function isAsDelivered(field) {
        if (field.matches('select')) {
            const chosen = [...field.options].filter(option => option.defaultSelected);
            return chosen.length ? chosen.every(option => option.selected) : field.selectedIndex <= 0;
        }
        return field.matches('[type=checkbox], [type=radio]') ? field.checked === field.defaultChecked : field.value === field.defaultValue;
    }

    // What somebody wrote, and the version that they began with, to the field that came in the place of theirs where the form
    // around it is another one now.
    function carryOver({field, version}) {
        const successor = document.getElementById(field.id);
        if (successor?.localName !== field.localName || successor.type !== field.type) {
            return;
        }
        // A list of several choices that stayed keeps them all; its value is only the first.
        if (successor !== field) {
            successor.value = field.value;
            successor.checked = field.checked;
        }
        const known = successor.form.querySelector(VERSION);
        if (known && version) {
            known.value = version;
        }
    }

    // What the person, or another script, decided about an element.
    function isOwn(element, attribute) {
        return (attribute === 'open' && element.matches('details')) || (attribute === 'class' && element.matches('tr.selected, tr:has(:checked)'));
    }

    function patchLines(list, fresh) {
        const now = new Map([...fresh.querySelectorAll('tr[data-row]')].map(row => [row.dataset.row, row]));
        for (const row of list.querySelectorAll('tr[data-row]')) {
            const next = now.get(row.dataset.row);
            row.classList.toggle('gone', !next);
            if (next) {
                patchChildren(row, next, true);
            }
        }
    }

    function clock(time) {
        return time.toISOString().slice(11, 19) + ' UTC';
    }

    function age(time) {
        // The clock of this machine may have been set back meanwhile.
        const seconds = Math.max(0, Math.round((Date.now() - time) / 1000));
        return seconds < 120 ? seconds + ' s' : Math.floor(seconds / 60) + ' min';
    }
}
