/* The library needs no C library: this file supplies the three functions
   that a freestanding compiler expects and refers to every public one. It is
   linked with nothing but the compiler's own helpers and, for sqrt, libm. */

#include "atomdl.h"

#include <stddef.h>

/* Through volatile bytes, lest the compiler see a memcpy and call itself. */
void *memcpy(void *to, const void *from, size_t n)
{
    volatile unsigned char *t = to;
    const unsigned char *f = from;
    while (n-- > 0)
        *t++ = *f++;
    return to;
}

void *memset(void *to, int value, size_t n)
{
    volatile unsigned char *t = to;
    while (n-- > 0)
        *t++ = (unsigned char)value;
    return to;
}

void *memmove(void *to, const void *from, size_t n)
{
    volatile unsigned char *t = to;
    const unsigned char *f = from;
    if ((uintptr_t)to <= (uintptr_t)from)
        return memcpy(to, from, n);
    while (n-- > 0)
        t[n] = f[n];
    return to;
}

/* Where newlib's sqrt reports a negative argument. */
int *__errno(void)
{
    static int number;
    return &number;
}

typedef void (*function)(void);

/* Every public function. */
function volatile const atomdl_all[] = {
    (function)atomdl_strerror,
    (function)atomdl_selftest,
    (function)atomdl_alloc,
    (function)atomdl_arena_status,
    (function)atomdl_load16,
    (function)atomdl_load32,
    (function)atomdl_load64,
    (function)atomdl_loadf,
    (function)atomdl_store16,
    (function)atomdl_store32,
    (function)atomdl_store64,
    (function)atomdl_storef,
    (function)atomdl_bits,
    (function)atomdl_float,
    (function)atomdl_bits64,
    (function)atomdl_double,
    (function)atomdl_digest_bytes,
    (function)atomdl_digest_u32,
    (function)atomdl_digest_f32,
    (function)atomdl_digest_f64,
    (function)atomdl_expf,
    (function)atomdl_logf,
    (function)atomdl_sinf,
    (function)atomdl_cosf,
    (function)atomdl_sqrtf,
    (function)atomdl_exp,
    (function)atomdl_log,
    (function)atomdl_sin,
    (function)atomdl_cos,
    (function)atomdl_atan2,
    (function)atomdl_erf,
    (function)atomdl_pow,
    (function)atomdl_sqrt,
    (function)atomdl_floor,
    (function)atomdl_dot,
    (function)atomdl_absmax,
    (function)atomdl_kernels_get,
    (function)atomdl_kernels_find,
    (function)atomdl_philox,
    (function)atomdl_rng_seed,
    (function)atomdl_rng_split,
    (function)atomdl_rng_u32,
    (function)atomdl_rng_uniform,
    (function)atomdl_rng_uniform64,
    (function)atomdl_rng_below,
    (function)atomdl_rng_normal,
    (function)atomdl_rng_poisson,
    (function)atomdl_sort,
    (function)atomdl_image_new,
    (function)atomdl_image_check,
    (function)atomdl_image_crop,
    (function)atomdl_image_resize,
    (function)atomdl_image_normalise, (function)atomdl_norm_name,
    (function)atomdl_image_normalise_as, (function)atomdl_image_blank,
    (function)atomdl_percentile,
    (function)atomdl_image_warp,
    (function)atomdl_arch_check,
    (function)atomdl_arch_shapes,
    (function)atomdl_arch_tensor,
    (function)atomdl_fcn,
    (function)atomdl_unet,
    (function)atomdl_resunet,
    (function)atomdl_arch_parse,
    (function)atomdl_arch_print,
    (function)atomdl_net_new,
    (function)atomdl_net_run,
    (function)atomdl_net_rows,
    (function)atomdl_segment,
    (function)atomdl_plan_default,
    (function)atomdl_plan_check,
    (function)atomdl_plan_rate,
    (function)atomdl_arch_init,
    (function)atomdl_loss_eval,
    (function)atomdl_state_new,
    (function)atomdl_update,
    (function)atomdl_state_average,
    (function)atomdl_trainer_new,
    (function)atomdl_trainer_run,
    (function)atomdl_trainer_logits,
    (function)atomdl_confusion_add,
    (function)atomdl_confusion_scores,
    (function)atomdl_confusion_accuracy,
    (function)atomdl_weights_size,
    (function)atomdl_weights_write,
    (function)atomdl_weights_meta,
    (function)atomdl_weights_read,
    (function)atomdl_checkpoint_size,
    (function)atomdl_checkpoint_write,
    (function)atomdl_checkpoint_read,
    (function)atomdl_element,
    (function)atomdl_symbol,
    (function)atomdl_lattice_find,
    (function)atomdl_lattice_check,
    (function)atomdl_column_text,
    (function)atomdl_defect_name,
    (function)atomdl_defect_find,
    (function)atomdl_line_side,
    (function)atomdl_structure_new,
    (function)atomdl_structure_room,
    (function)atomdl_structure_fill,
    (function)atomdl_structure_alloy,
    (function)atomdl_structure_contacts,
    (function)atomdl_structure_edge,
    (function)atomdl_structure_hole,
    (function)atomdl_motifs_new,
    (function)atomdl_defect_place,
    (function)atomdl_defect_locate,
    (function)atomdl_defects_draw,
    (function)atomdl_defects_scatter,
    (function)atomdl_structure_cloud,
    (function)atomdl_cloud_thickness,
    (function)atomdl_structure_warp,
    (function)atomdl_structure_thermal,
    (function)atomdl_structure_finish,
    (function)atomdl_xyz_read,
    (function)atomdl_structure_atoms,
    (function)atomdl_label_paint,
    (function)atomdl_movie_step,
    (function)atomdl_fft_size,
    (function)atomdl_fft,
    (function)atomdl_fft_real,
    (function)atomdl_fft_real_back,
    (function)atomdl_optics_preset,
    (function)atomdl_optics_check,
    (function)atomdl_wavelength,
    (function)atomdl_cross_section,
    (function)atomdl_probe_new,
    (function)atomdl_image_atoms,
    (function)atomdl_image_multislice,
    (function)atomdl_potential,
    (function)atomdl_scan_rows,
    (function)atomdl_detector_density,
    (function)atomdl_detect,
    (function)atomdl_blobs,
    (function)atomdl_peaks,
    (function)atomdl_refine,
    (function)atomdl_match,
    (function)atomdl_chemistry_get,
    (function)atomdl_chemistry_find,
    (function)atomdl_nodes_merge,
    (function)atomdl_graph_new,
    (function)atomdl_angle,
    (function)atomdl_found_name,
    (function)atomdl_found_list,
    (function)atomdl_sublattice,
    (function)atomdl_intensity,
    (function)atomdl_mixture_fit,
    (function)atomdl_mixture_posterior,
    (function)atomdl_sampling_find, (function)atomdl_find,
    (function)atomdl_finder_open, (function)atomdl_pixel_find,
    (function)atomdl_note_text, (function)atomdl_rules_all,
    (function)atomdl_rules_get,
    (function)atomdl_dist_draw,
    (function)atomdl_recipe_default,
    (function)atomdl_recipe_parse,
    (function)atomdl_recipe_set,
    (function)atomdl_recipe_check,
    (function)atomdl_recipe_print,
    (function)atomdl_recipe_digest, (function)atomdl_edits,
    (function)atomdl_recipe_network,
    (function)atomdl_recipe_plan,
    (function)atomdl_source_new,
    (function)atomdl_sample_new,
    (function)atomdl_movie_frame,
    (function)atomdl_assign,
    (function)atomdl_tracker_new,
    (function)atomdl_tracker_step,
    (function)atomdl_msd_add,
    (function)atomdl_msd_mean,
    (function)atomdl_msd_fit,
    (function)atomdl_hop_fold,
    (function)atomdl_hops_add,
    (function)atomdl_hops_rate,
    (function)atomdl_dwells,
    (function)atomdl_drift_find,
    (function)atomdl_phase_shift,
    (function)atomdl_first_frame,
    (function)atomdl_cut,
    (function)atomdl_orient,
    (function)atomdl_class_means,
    (function)atomdl_pca_fit,
    (function)atomdl_pca_project,
    (function)atomdl_kmeans,
    (function)atomdl_gmm_fit,
    (function)atomdl_gmm_classify,
    (function)atomdl_ward,
    (function)atomdl_ward_labels,
    (function)atomdl_concentration,
    (function)atomdl_counts_add,
    (function)atomdl_markov_solve,
    (function)atomdl_hmm_viterbi,
    (function)atomdl_hmm_posterior,
    (function)atomdl_hmm_learn,
    (function)atomdl_rotor_measure,
    (function)atomdl_rotor_switches,
    (function)atomdl_chains_new,
    (function)atomdl_chains_learn,
    (function)atomdl_film_defaults,
    (function)atomdl_film_rule,
    (function)atomdl_frame_place,
    (function)atomdl_film_lattice,
    (function)atomdl_film_spot,
    (function)atomdl_film_take,
    (function)atomdl_film_marks,
    (function)atomdl_film_drift,
    (function)atomdl_film_follow,
    (function)atomdl_film_in_question,
    (function)atomdl_film_sites_room,
    (function)atomdl_film_sites,
    (function)atomdl_film_believe,
    (function)atomdl_film_chain,
    (function)atomdl_film_gaps,
    (function)atomdl_film_fill,
    (function)atomdl_film_rank,
    (function)atomdl_film_tracks,
    (function)atomdl_track_spot,
    (function)atomdl_track_counts,
    (function)atomdl_can_become,
    (function)atomdl_film_classes,
    (function)atomdl_film_walk,
};

/* Where the linker starts. */
int main(void)
{
    size_t i, n = 0;
    for (i = 0; i < sizeof atomdl_all / sizeof *atomdl_all; i++)
        n += atomdl_all[i] != NULL;
    return n == sizeof atomdl_all / sizeof *atomdl_all ? 0 : 1;
}
