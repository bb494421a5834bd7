/* devices/fs/tree_ids.c - who is who: ids of the guest's and of the host's, and threads that create
 * files for others. Only raw system calls here: the C library's change every thread. */
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>

#include "base/jail.h"
#include "devices/fs/tree_priv.h"

#define NO_ID UINT32_MAX

static const unsigned needed[] = {CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_SETGID, CAP_SETUID};

/* effective, permitted, inheritable of capabilities 0 to 31, then of the others. */
static int caps_get(uint32_t caps[6])
{
    struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
    return (int)syscall(SYS_capget, &h, caps);
}

static int caps_set(const uint32_t caps[6])
{
    struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
    return (int)syscall(SYS_capset, &h, caps);
}

static int number(const char **at, char end, uint32_t *out)
{
    uint64_t v = 0;
    const char *p = *at;
    for (; *p >= '0' && *p <= '9' && v <= UINT32_MAX; p++)
        v = v * 10 + (unsigned)(*p - '0');
    if (p == *at || *p != end || v > UINT32_MAX)
        return -EINVAL;
    *at = p + (end != 0);
    *out = (uint32_t)v;
    return 0;
}

static bool overlap(uint32_t a, uint32_t b, uint32_t a_count, uint32_t b_count)
{
    return a < (uint64_t)b + b_count && b < (uint64_t)a + a_count;
}

static int parse_one(struct tree_ids *ids, const char *what, const char *text, struct err *e)
{
    const char *at = text;
    uint32_t guest, host, count;
    if (number(&at, ':', &guest) < 0 || number(&at, ':', &host) < 0 || number(&at, 0, &count) < 0 ||
        count == 0)
        return err_input(e, 0, "%s=%s: must be GUEST:HOST:COUNT", what, text);
    /* The last number means "no id". */
    if ((uint64_t)guest + count > NO_ID || (uint64_t)host + count > NO_ID)
        return err_input(e, 0, "%s=%s: goes beyond the last id", what, text);
    for (unsigned i = 0; i < ids->n; i++) {
        if (overlap(guest, ids->range[i].guest, count, ids->range[i].count) ||
            overlap(host, ids->range[i].host, count, ids->range[i].count))
            return err_input(e, 0, "%s=%s: overlaps another one", what, text);
    }
    ids->range[ids->n].guest = guest;
    ids->range[ids->n].host = host;
    ids->range[ids->n++].count = count;
    return 0;
}

static int parse(struct tree_ids *ids, const char *what, const struct opt_strs *map, struct err *e)
{
    for (unsigned i = 0; i < map->n; i++) {
        int rc = parse_one(ids, what, map->v[i], e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static void one_range(struct tree_ids *ids, uint32_t host, uint32_t count)
{
    if (ids->n)
        return;
    ids->range[0].guest = 0;
    ids->range[0].host = host;
    ids->range[0].count = count;
    ids->n = 1;
}

/* Who may act for nobody else can have one id in the guest, and its number is free. */
static int only_self(const struct tree_ids *ids, const char *what, uint32_t own, struct err *e)
{
    if (ids->n == 1 && ids->range[0].host == own && ids->range[0].count == 1)
        return 0;
    return err_input(e, 0, "%s: without root's rights it can only be GUEST:%u:1", what, own);
}

static int own_groups(struct tree *t, struct err *e)
{
    int n = getgroups(0, NULL);
    if (n <= 0)
        return 0;
    t->groups = calloc((size_t)n, sizeof(*t->groups));
    if (!t->groups)
        return err_host(e, -ENOMEM, "a shared folder");
    t->n_groups = MAX(0, getgroups(n, t->groups));
    return 0;
}

int tree_ids_init(struct tree *t, const struct tree_config *c, struct err *e)
{
    uint32_t caps[6] = {0};
    t->uid = geteuid();
    t->gid = getegid();
    t->privileged = caps_get(caps) == 0;
    for (unsigned i = 0; i < ARRAY_SIZE(needed); i++)
        t->privileged &= !!(caps[0] & CAP_TO_MASK(needed[i]));
    t->keeps_suid = caps[0] & CAP_TO_MASK(CAP_FSETID);
    if (jail_will_be(&t->uid, &t->gid))
        t->privileged = t->keeps_suid = false;
    int rc = parse(&t->uids, "uid-map", &c->uid_map, e);
    if (rc == 0)
        rc = parse(&t->gids, "gid-map", &c->gid_map, e);
    if (rc < 0)
        return rc;
    if (!t->privileged) {
        one_range(&t->uids, t->uid, 1);
        one_range(&t->gids, t->gid, 1);
        rc = only_self(&t->uids, "uid-map", t->uid, e);
        return rc < 0 ? rc : only_self(&t->gids, "gid-map", t->gid, e);
    }
    if (!t->uids.n != !t->gids.n)
        return err_input(e, 0, "uid-map and gid-map: each needs the other");
    t->mapped = t->uids.n > 0;
    one_range(&t->uids, 0, NO_ID);
    one_range(&t->gids, 0, NO_ID);
    return own_groups(t, e);
}

bool tree_to_host(const struct tree_ids *ids, uint32_t guest, uint32_t *host)
{
    for (unsigned i = 0; i < ids->n; i++) {
        if (guest >= ids->range[i].guest && guest - ids->range[i].guest < ids->range[i].count) {
            *host = ids->range[i].host + (guest - ids->range[i].guest);
            return true;
        }
    }
    return false;
}

static bool to_guest(const struct tree_ids *ids, uint32_t host, uint32_t *guest)
{
    for (unsigned i = 0; i < ids->n; i++) {
        if (host >= ids->range[i].host && host - ids->range[i].host < ids->range[i].count) {
            *guest = ids->range[i].guest + (host - ids->range[i].host);
            return true;
        }
    }
    return false;
}

uint32_t tree_to_guest(const struct tree_ids *ids, uint32_t host)
{
    uint32_t guest = TREE_NOBODY;
    (void)to_guest(ids, host, &guest);
    return guest;
}

int tree_may(const struct tree *t, int fd, int want)
{
    struct statx st;
    uint32_t id;
    if (!t->mapped)
        return 0;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &st) < 0)
        return tree_errno();
    if (to_guest(&t->uids, st.stx_uid, &id) && to_guest(&t->gids, st.stx_gid, &id))
        return 0;
    if ((st.stx_mode & 7 & want) == want)
        return 0;
    return want & TREE_OWNER ? -EPERM : -EACCES;
}

bool tree_is_guests(const struct tree *t, int fd)
{
    return tree_may(t, fd, TREE_OWNER) == 0;
}

static int become(const struct tree *t, uid_t uid, gid_t gid, struct tree_as *as)
{
    if (caps_get(as->caps) < 0)
        return -EPERM;
    as->switched = true;
    /* A group of ours would let a file keep its SGID bit that it must lose: CVE-2022-0358. */
    if (t->n_groups && syscall(SYS_setgroups, 0, NULL) < 0)
        return -EPERM;
    (void)setfsgid(gid);
    (void)setfsuid(uid);
    if (setfsgid((gid_t)-1) != (int)gid || setfsuid((uid_t)-1) != (int)uid)
        return -EPERM;
    if (uid == 0)
        return 0;
    /* The guest's kernel has looked at who may write to the folder, with all groups of its user,
     * which we do not know. */
    uint32_t caps[6] = {
        CAP_TO_MASK(CAP_DAC_OVERRIDE), as->caps[1], as->caps[2], 0, as->caps[4], as->caps[5]};
    return caps_set(caps) < 0 ? -EPERM : 0;
}

/* A umask belongs to all threads, until one has its own. */
static int no_umask(mode_t *old)
{
    static _Thread_local bool own;
    if (!own && unshare(CLONE_FS) < 0)
        return -errno;
    own = true;
    *old = umask(0);
    return 0;
}

int tree_as_user(const struct tree *t, const struct tree_user *u, struct tree_as *as)
{
    *as = (struct tree_as){0};
    uid_t uid = t->uid;
    gid_t gid = t->gid;
    if (t->privileged &&
        (!tree_to_host(&t->uids, u->uid, &uid) || !tree_to_host(&t->gids, u->gid, &gid)))
        return -EOVERFLOW;
    int rc = no_umask(&as->umask);
    if (rc < 0)
        return rc;
    if (uid != t->uid || gid != t->gid || (t->privileged && t->n_groups))
        rc = become(t, uid, gid, as);
    if (rc < 0)
        tree_as_self(t, as);
    return rc;
}

/* What cannot be had back leaves the thread with less than it had, never with more. */
void tree_as_self(const struct tree *t, struct tree_as *as)
{
    umask(as->umask);
    if (!as->switched)
        return;
    (void)setfsuid(t->uid);
    (void)caps_set(as->caps);
    (void)setfsgid(t->gid);
    if (t->n_groups)
        (void)syscall(SYS_setgroups, (size_t)t->n_groups, t->groups);
    as->switched = false;
}
