/* tests/fuzz/fuzz_api.c - what clients of the control socket and configuration files say in JSON:
 * bodies that are put and merged, one after the other, into one configuration. What was accepted is
 * shown, and what is shown must be accepted as a file and show the same. */
#include <fcntl.h>
#include <sys/mman.h>

#include "tests/fuzz/fuzz.h"
#include "tests/unit/all_bodies.h"

struct story {
    struct vm_config base;
    json_t *have;
    struct api_config made;
};

static json_t *parse(const char *text)
{
    json_error_t why;
    return json_loads(text, JSON_REJECT_DUPLICATES, &why);
}

static void take_over(struct story *t, json_t *next)
{
    struct api_config made = {0};
    struct err e;
    if (api_config_make(&t->base, next, &made, &e) < 0) {
        json_decref(next);
        return;
    }
    api_config_drop(&t->made);
    t->made = made;
    json_decref(t->have);
    t->have = next;
}

/* A line: which body, 'p' for PUT or another letter for PATCH, and JSON. */
static void put(struct story *t, const struct api_body *b, bool merge, const char *text)
{
    struct err e;
    json_t *body = parse(text), *next = NULL;
    merge = merge && b == &api_machine; /* the only one that a PATCH merges before the start */
    const char *id = b->id ? json_string_value(json_object_get(body, b->id)) : NULL;
    if (!json_is_object(body) || (b->id && !id) || (id && api_check_id(id, "an id", &e) < 0)) {
        json_decref(body);
        return;
    }
    int rc = api_body_check(b, body, !merge, b->section, &e);
    if (rc == 0)
        rc = api_config_put(t->have, b, id, body, merge, &next, &e);
    json_decref(body);
    if (rc == 0)
        take_over(t, next);
    else
        json_decref(next);
}

static int read_back(const char *text, json_t **out, struct err *e)
{
    char path[32];
    AUTO_FD fd = memfd_create("config", MFD_CLOEXEC);
    EXPECT(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return api_config_load(path, out, e);
}

static void load(struct story *t, const char *text)
{
    struct err e;
    json_t *next;
    if (read_back(text, &next, &e) == 0)
        take_over(t, next);
}

static void show(struct story *t)
{
    struct api_config again = {0};
    struct err e = {0};
    json_t *shown = api_config_show(&t->made), *next;
    EXPECT(shown);
    for (size_t i = 0; i < ARRAY_SIZE(all_bodies); i++)
        json_decref(api_config_show_section(&t->made, all_bodies[i]));
    if (json_object_get(t->have, "boot-source")) { /* what a file must have */
        AUTO_FREE char *text = json_dumps(shown, 0);
        EXPECT(text && read_back(text, &next, &e) == 0, "%s of %s", e.msg, text);
        EXPECT(api_config_make(&t->base, next, &again, &e) == 0, "%s of %s", e.msg, text);
        json_t *same = api_config_show(&again);
        EXPECT(json_equal(shown, same), "%s", text);
        json_decref(same);
        api_config_drop(&again);
        json_decref(next);
    }
    json_decref(shown);
}

void fuzz_api(struct script *s, const char *which)
{
    enum { FILE_LINE = 'f' };
    char *argv[] = {(char *)"vmm", (char *)"--api-sock", (char *)"s"};
    struct story t = {.have = json_object()};
    enum options_action action;
    struct err e;
    (void)which;
    EXPECT(options_parse(ARRAY_SIZE(argv), argv, &t.base, &action, &e) == 0, "%s", e.msg);
    EXPECT(api_config_make(&t.base, t.have, &t.made, &e) == 0, "%s", e.msg);
    for (unsigned i = 0; i < 8 && s->len > 0; i++) {
        uint8_t how = take8(s);
        char *text = take_text(s, '\n');
        if (how == FILE_LINE)
            load(&t, text);
        else
            put(&t, all_bodies[(how & 0x7f) % ARRAY_SIZE(all_bodies)], how & 0x80, text);
        show(&t);
        free(text);
    }
    api_config_drop(&t.made);
    json_decref(t.have);
    options_free(&t.base);
}
