/* tests/unit/test_tree_forged.c - the state of a shared folder that somebody has made up. */
#include "tree_saved.h"

BOTH(tree_state, names_that_lead_away)
{
    cr_assert_eq(mkdir(at("d"), 0777), 0);
    cr_assert_eq(symlink("../outside", at("out")), 0);
    host_file(at("f"), "x");
    cr_assert_eq(one_node(2, 1, "d", 1, "d"), 0);
    cr_assert_eq(stat_id(2), 0);
    cr_assert_eq(one_node(2, 1, "../outside", 10, "../outside"), -EBADMSG);
    cr_assert_eq(one_node(2, 1, "..", 2, ".."), -EBADMSG);
    cr_assert_eq(one_node(2, 1, ".", 1, "."), -EBADMSG);
    cr_assert_eq(one_node(2, 1, "d\0x", 3, "d"), -EBADMSG);
    cr_assert_eq(one_node(2, 1, "d/", 2, "d"), -EBADMSG);
    char longest[256];
    memset(longest, 'x', sizeof(longest));
    cr_assert_eq(one_node(2, 1, longest, 256, "d"), -EBADMSG);
    cr_assert_eq(one_node(2, 1, longest, 255, "d"), 0);
    cr_assert_eq(stat_id(2), -ESTALE);
    cr_assert_eq(one_node(2, 1, "", 0, "d"), 0);
    cr_assert_eq(stat_id(2), -ESTALE);
    /* Through a link to a folder outside. */
    begin(100, 2);
    put_node(2, 1, "out", 3, "out");
    put_node(3, 2, "canary", 6, "../outside/canary");
    state_u32(&saved, 0);
    cr_assert_eq(finish(), 0);
    cr_assert_eq(stat_id(2), 0);
    cr_assert_eq(stat_id(3), -ESTALE);
    /* The type of the link's target. */
    cr_assert_eq(one_node(2, 1, "out", 3, "../outside"), 0);
    cr_assert_eq(stat_id(2), -ESTALE);
}

/* A number may have been given to a new file. */
BOTH(tree_state, a_file_that_is_younger)
{
    host_file(at("f"), "x");
    if (born("f") == 0)
        return; /* the file system does not tell */
    older = 1;
    cr_assert_eq(one_node(2, 1, "f", 1, "f"), 0);
    cr_assert_eq(stat_id(2), -ESTALE);
    older = 0;
    cr_assert_eq(one_node(2, 1, "f", 1, "f"), 0);
    cr_assert_eq(stat_id(2), 0);
}

BOTH(tree_state, ids_that_cannot_be)
{
    cr_assert_eq(mkdir(at("d"), 0777), 0);
    cr_assert_eq(one_node(0, 1, "d", 1, "d"), -EBADMSG);
    cr_assert_eq(one_node(1, 1, "d", 1, "d"), -EBADMSG);
    cr_assert_eq(one_node(101, 1, "d", 1, "d"), -EBADMSG);
    begin(UINT64_MAX, 0);
    state_u32(&saved, 0);
    cr_assert_eq(finish(), -EBADMSG);
    begin(100, 2); /* the same twice */
    put_node(2, 1, "d", 1, "d");
    put_node(2, 1, "d", 1, "d");
    state_u32(&saved, 0);
    cr_assert_eq(finish(), -EBADMSG);
    begin(100, 2); /* two for one file: the other one is lost */
    put_node(2, 1, "d", 1, "d");
    put_node(3, 1, "d", 1, "d");
    state_u32(&saved, 0);
    cr_assert_eq(finish(), 0);
    cr_assert_eq((stat_id(2) == 0) + (stat_id(3) == 0), 1);
    begin(100, UINT32_MAX);
    put_node(2, 1, "d", 1, "d");
    cr_assert_eq(finish(), -EBADMSG);
}

BOTH(tree_state, folders_that_come_later_or_never)
{
    struct tree_entry en;
    cr_assert_eq(mkdir(at("d"), 0777), 0);
    cr_assert_eq(mkdir(at("d/e"), 0777), 0);
    cr_assert_eq(mkdir(at("d/e/f"), 0777), 0);
    begin(100, 4);
    put_node(5, 4, "f", 1, "d/e/f");
    put_node(4, 9, "e", 1, "d/e");
    put_node(9, 1, "d", 1, "d");
    put_node(6, 77, "f", 1, "d/e/f");
    state_u32(&saved, 0);
    cr_assert_eq(finish(), 0);
    cr_assert_eq(stat_id(5), 0);
    cr_assert_eq(stat_id(4), 0);
    cr_assert_eq(stat_id(6), -ESTALE);
    cr_assert_eq(lookup(9, "e", &en), 0);
    cr_assert_eq(en.id, 4);
    begin(100, 4); /* in a circle, by itself, and below one */
    put_node(2, 3, "d", 1, "d");
    put_node(3, 2, "e", 1, "d/e");
    put_node(4, 4, "f", 1, "d/e/f");
    put_node(5, 2, "e", 1, "d/e");
    state_u32(&saved, 0);
    cr_assert_eq(finish(), 0);
    for (uint64_t id = 2; id <= 5; id++)
        cr_assert_eq(stat_id(id), -ESTALE);
}

BOTH(tree_state, files_that_cannot_be)
{
    static const struct {
        uint64_t handle, node;
        uint32_t flags;
        int rc, fd; /* fd: 1 opened, -ESTALE lost */
    } row[] = {
        {1, 2, O_RDWR, 0, 1},          {10, 2, O_RDONLY | O_SYNC, 0, 1},
        {0, 2, O_RDWR, -EBADMSG, 0},   {11, 2, O_RDWR, -EBADMSG, 0},
        {1, 3, O_RDWR, -EBADMSG, 0},   {1, 2, O_CREAT, -EBADMSG, 0},
        {1, 2, O_TRUNC, -EBADMSG, 0},  {1, 2, O_PATH, -EBADMSG, 0},
        {1, 2, O_ACCMODE, 0, -ESTALE}, {1, 2, O_DIRECTORY, 0, -ESTALE},
        {1, 4, O_RDONLY, 0, -ESTALE},  {1, 5, O_RDONLY, 0, -ESTALE},
        {1, 6, O_DIRECTORY, 0, 1},     {1, 6, O_RDONLY, 0, -ESTALE},
    };
    host_file(at("f"), "x");
    cr_assert_eq(mkfifo(at("p"), 0666), 0);
    cr_assert_eq(symlink("../outside/canary", at("l")), 0);
    cr_assert_eq(mkdir(at("d"), 0777), 0);
    for (unsigned i = 0; i < ARRAY_SIZE(row); i++) {
        begin(100, 4);
        put_node(2, 1, "f", 1, "f");
        put_node(4, 1, "p", 1, "p");
        put_node(5, 1, "l", 1, "l");
        put_node(6, 1, "d", 1, "d");
        state_u32(&saved, 1);
        put_file(row[i].handle, row[i].node, row[i].flags);
        cr_assert_eq(finish(), row[i].rc, "row %u", i);
        if (row[i].rc < 0)
            continue;
        int fd = WITH_FILE(row[i].handle, tree_file_fd(f));
        cr_assert_eq(fd < 0 ? fd : 1, row[i].fd, "row %u", i);
    }
    begin(100, 1); /* the same twice */
    put_node(2, 1, "f", 1, "f");
    state_u32(&saved, 2);
    put_file(1, 2, O_RDWR);
    put_file(1, 2, O_RDWR);
    cr_assert_eq(finish(), -EBADMSG);
}

BOTH(tree_state, cut_anywhere)
{
    struct tree_entry d, f;
    uint64_t h;
    cr_assert_eq(make_dir(TREE_ROOT, "d", &d), 0);
    cr_assert_eq(create(d.id, "f", &f, &h), 0);
    struct flock l = {.l_type = F_WRLCK};
    cr_assert_eq(WITH_FILE(h, tree_lock(t, f, 1, &l, false)), 0);
    save();
    struct state_out whole = saved;
    for (size_t len = 16; len < whole.len; len++) {
        /* A section of its own of that length: the checksum does not save us. */
        saved = (struct state_out){0};
        state_begin(&saved, "FSTR", 1);
        for (size_t i = 16; i < len; i++)
            state_u8(&saved, whole.buf[i]);
        state_end(&saved);
        cr_assert_eq(load(), -EBADMSG, "%zu", len);
        cr_assert_eq(tree_nodes(t), 1);
        state_out_free(&saved);
    }
    saved = whole;
    saved.buf[0] ^= 1;
    cr_assert_eq(load(), -EBADMSG);
    saved.buf[0] ^= 1;
    cr_assert_eq(load(), 0);
}

/* Whatever is in it: a whole tree, or the empty one; and one that works. */
BOTH(tree_state, any_byte_changed)
{
    static const uint8_t with[] = {0xff, 0x80, 0x01, 0x7f};
    struct tree_entry d, f, x;
    uint64_t h, hd;
    cr_assert_eq(make_dir(TREE_ROOT, "d", &d), 0);
    cr_assert_eq(create(d.id, "f", &f, &h), 0);
    cr_assert_eq(WITH(d.id, tree_open_folder(t, n, &hd)), 0);
    struct flock l = {.l_type = F_WRLCK, .l_start = 3, .l_len = 4};
    cr_assert_eq(WITH_FILE(h, tree_lock(t, f, 1, &l, false)), 0);
    save();
    struct state_out whole = saved;
    unsigned loaded = 0, refused = 0;
    for (size_t i = 16; i < whole.len * ARRAY_SIZE(with); i++) {
        size_t changed = i / ARRAY_SIZE(with);
        saved = (struct state_out){0};
        state_begin(&saved, "FSTR", 1);
        for (size_t k = 16; k < whole.len; k++)
            state_u8(&saved, whole.buf[k] ^ (k == changed ? with[i % ARRAY_SIZE(with)] : 0));
        state_end(&saved);
        int rc = load();
        loaded += rc == 0;
        refused += rc < 0;
        cr_assert(rc == 0 || (tree_nodes(t) == 1 && tree_files(t) == 0));
        cr_assert_eq(lookup(TREE_ROOT, "d", &x), 0);
        state_out_free(&saved);
    }
    cr_assert(loaded > 0 && refused > 0);
    saved = whole;
    cr_assert_eq(load(), 0);
}

/* Numbers are given out once, up to the last one; and a state that was refused gives none away. */
BOTH(tree_state, numbers_that_come_to_their_end)
{
    struct tree_entry en;
    uint64_t h;
    host_file(at("f"), "x");
    host_file(at("g"), "x");
    begin(INT64_MAX, 7);
    state_end(&saved);
    cr_assert_eq(load(), -EBADMSG);
    cr_assert_eq(id_of(TREE_ROOT, "f"), 2);
    begin(INT64_MAX - 1, 0);
    state_u32(&saved, 0);
    cr_assert_eq(finish(), 0);
    cr_assert_eq(id_of(TREE_ROOT, "f"), INT64_MAX);
    cr_assert_eq(lookup(TREE_ROOT, "g", &en), -ENFILE);
    cr_assert_eq(tree_nodes(t), 2);
    cr_assert_eq(id_of(TREE_ROOT, "f"), INT64_MAX);
    save();
    cr_assert_eq(load(), 0, "what was saved can be loaded");
    cr_assert_eq(lookup(TREE_ROOT, "g", &en), -ENFILE);
    tree_free(t);
    new_tree();
    state_out_free(&saved);
    state_begin(&saved, "FSTR", 1);
    state_u64(&saved, 100);
    state_u64(&saved, INT64_MAX - 1);
    state_u32(&saved, 0);
    state_u32(&saved, 0);
    cr_assert_eq(finish(), 0);
    uint64_t f = id_of(TREE_ROOT, "f");
    cr_assert_eq(open_id(f, O_RDONLY, &h), 0);
    cr_assert_eq(h, INT64_MAX);
    cr_assert_eq(open_id(f, O_RDONLY, &h), -ENFILE);
    cr_assert_eq(tree_files(t), 1);
    save();
    cr_assert_eq(load(), 0);
}

/* Whoever makes up a state chooses ids, handles and what files are said to be; a guest chooses
 * which handles it keeps. */
enum { CHOSEN = 120 };

static void load_chosen(uint64_t step)
{
    state_out_free(&saved);
    state_begin(&saved, "FSTR", 1);
    state_u64(&saved, INT64_MAX);
    state_u64(&saved, INT64_MAX);
    state_u32(&saved, CHOSEN);
    for (uint64_t i = 0; i < CHOSEN; i++)
        put_node(2 + i * step, 1, "f", 1, i % 2 ? "f" : ".");
    state_u32(&saved, CHOSEN);
    for (uint64_t i = 0; i < CHOSEN; i++)
        put_file(2 + i * step, 2, O_RDONLY);
    cr_assert_eq(finish(), 0);
}

static unsigned longest(void)
{
    unsigned most = 0;
    for (uint64_t b = 0; b < tree_buckets(t); b++) {
        unsigned nodes = 0, files = 0;
        for (struct tree_node *n = t->by_id[b]; n; n = n->next_by_id)
            nodes++;
        for (struct tree_file *f = t->by_handle[b]; f; f = f->next)
            files++;
        most = MAX(most, MAX(nodes, files));
    }
    return most;
}

BOTH(tree_state, nobody_chooses_what_meets)
{
    static const uint64_t steps[] = {1, 1024, 1 << 20, 1ull << 40};
    host_file(at("f"), "x");
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        unsigned most = CHOSEN;
        for (unsigned tries = 0; tries < 5 && most > CHOSEN / 4; tries++) { /* by chance */
            tree_free(t);
            new_tree();
            load_chosen(steps[i]);
            most = longest();
        }
        cr_assert_leq(most, CHOSEN / 4, "step %lu: %u", (unsigned long)steps[i], most);
    }
    unsigned by_key = 0;
    for (uint64_t b = 0; b < tree_buckets(t); b++) {
        for (struct tree_node *n = t->by_key[b]; n; n = n->next_by_key)
            by_key++;
    }
    cr_assert_eq(by_key, 2, "by what it is, only what was found");
}
