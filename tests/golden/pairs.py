"""What the golden files hold: runs as small as a full method can be, and fixed samples to judge."""

TOY = {'data.kw': {'num_train': 512, 'num_validation': 64, 'num_test': 64}}
DIGITS, PLANE = 'configs/digits.py:', 'configs/toy2d.py:'
MLPS = 'posterior.features=(16,),decoder.features=(16,)'
DIT = 'denoiser.patch=4,denoiser.width=16,denoiser.num_blocks=1,denoiser.num_heads=2'
AR = 'causal.width=16,causal.num_blocks=1,causal.num_heads=2'
SMALL_CRITIC = {'networks.critic.kw': {'features': (16,)}}

# name -> (argument of a config, what is set behind it)
PAIRS = {
    # closed forms, one step
    'gaussian-fit': (DIGITS + 'family=gaussian,objective=kl', {}),
    'mixture-fit': (DIGITS + 'family=mixture,objective=kl,model.num_components=3', {}),
    'mixture-gaussians': (PLANE + 'data=ring8,family=mixture,objective=kl,model.num_components=3',
                          TOY),
    # by gradient
    'gaussian-exact': (PLANE + 'data=ring8,family=gaussian,objective=kl,estimator=exact', TOY),
    'gaussian-reverse_kl': (PLANE + 'data=ring8,family=gaussian,objective=reverse_kl', TOY),
    'vae-bound': (DIGITS + f'family=vae,objective=kl,model.latent_dim=2,{MLPS}', {}),
    'vae-free_bits': (DIGITS + f'family=vae,objective=kl,model.latent_dim=2,{MLPS},'
                      'posterior.embed=4,decoder.embed=4,objective.beta=0.5,objective.free_bits=0.1,'
                      'conditional=True', {}),
    'vae-importance_weighted': (DIGITS + f'family=vae,objective=kl,estimator=importance_weighted,'
                                f'model.latent_dim=2,{MLPS},objective.num_samples=3',
                                {}),
    'vae-plane': (PLANE + f'data=ring8,family=vae,objective=kl,{MLPS}', TOY),
    'flow-spline': (DIGITS + 'family=flow,objective=kl,model.num_couplings=2,'
                    'conditioner.features=(16,)', {}),
    'flow-affine': (PLANE + 'data=ring8,family=flow,objective=kl,model.transform=affine,'
                    'model.num_couplings=2,conditioner.features=(16,)', TOY),
    'flow-reverse_kl': (PLANE + 'data=ring8,family=flow,objective=reverse_kl,'
                        'model.num_couplings=2,conditioner.features=(16,)', TOY),
    'flow-sliced': (PLANE + 'data=ring8,family=flow,objective=score_matching,estimator=sliced,'
                    'model.transform=affine,model.num_couplings=2,conditioner.features=(16,)', TOY),
    'autoregressive-exact': (DIGITS + f'family=autoregressive,objective=kl,{AR}', {}),
    'autoregressive-conditional': (DIGITS + f'family=autoregressive,objective=kl,{AR},'
                                   'conditional=True,model.label_dropout=0.1', {}),
    'ebm-contrastive_divergence': (DIGITS + 'family=ebm,objective=kl,energy.features=(16,)', {}),
    'ebm-explicit': (PLANE + 'data=ring8,family=ebm,objective=score_matching,estimator=explicit,'
                     'energy.features=(16,)', TOY),
    'ebm-denoising': (DIGITS + 'family=ebm,objective=score_matching,energy.features=(16,)', {}),
    'implicit-js': (DIGITS + 'family=implicit,objective=adversarial,divergence=js,'
                    'generator.features=(16,)', SMALL_CRITIC),
    'implicit-kl': (PLANE + 'data=ring8,family=implicit,objective=adversarial,divergence=kl,'
                    'generator.features=(16,)', {**TOY, **SMALL_CRITIC}),
    'implicit-critic': (DIGITS + 'family=implicit,objective=wasserstein,estimator=critic,'
                        'generator.features=(16,),critic.embed=10,conditional=True', SMALL_CRITIC),
    'implicit-sinkhorn': (DIGITS + 'family=implicit,objective=wasserstein,estimator=sinkhorn,'
                          'generator.features=(16,)', {}),
    'diffusion-denoising': (DIGITS + f'family=diffusion,objective=score_matching,{DIT}', {}),
    'diffusion-unet': (DIGITS + 'family=diffusion,objective=score_matching,denoiser=unet,'
                       'denoiser.width=8,denoiser.num_blocks=1,denoiser.multipliers=(1,2),'
                       'denoiser.attention=(4,),conditional=True,objective.label_dropout=0.1',
                       {}),
    'diffusion-plane': (PLANE + 'data=ring8,family=diffusion,objective=score_matching,'
                        'denoiser.width=16,denoiser.num_blocks=1', TOY),
    'diffusion-edm': (DIGITS + f'family=diffusion,objective=score_matching,{DIT},'
                      'model.schedule=edm,model.prediction=edm,objective.weighting=edm', {}),
    'diffusion-learned_schedule': (DIGITS + f'family=diffusion,objective=kl,{DIT},'
                                   'model.schedule=learned,model.prediction=noise', {}),
    'diffusion-learned_variance': (DIGITS + f'family=diffusion,objective=score_matching,{DIT},'
                                   'model.prediction=noise,model.num_steps=10,'
                                   'model.variance=learned,objective.num_steps=10,sampler.eta=1.0',
                                   {}),
    'diffusion-mean_flow': (DIGITS + f'family=diffusion,objective=mean_flow,{DIT}', {}),
    'diffusion-consistency': (DIGITS + f'family=diffusion,objective=consistency,{DIT}', {}),
    'diffusion-distillation': (DIGITS + f'family=diffusion,objective=distillation,{DIT},'
                               'objective.last_steps=4', {'init_from': 'a run'}),
}
SETTINGS = {'batch_size': 16, 'steps': 40, 'steps_per_dispatch': 1, 'optim.warmup': 0,
            'sampler.kw': {'num_steps': 3}}

# evaluators of samples alone, with the data that they are asked of: name -> (data, keywords)
EVALUATORS = {
    'frechet': ('digits', {}), 'kid': ('digits', {}), 'prdc': ('digits', {}),
    'vendi': ('digits', {}), 'sliced_w2': ('ring8', {}), 'c2st': ('digits', {}),
    'classified': ('digits', {}), 'inception_score': ('digits', {}), 'novelty': ('digits', {}),
    'copying': ('digits', {}), 'fld': ('digits', {}),
}
# evaluators of a model: name -> (pair, evaluator, keywords)
OF_MODEL = {
    'likelihood-exact': ('autoregressive-exact', 'likelihood', {}),
    'likelihood-bound': ('vae-bound', 'likelihood', {}),
    'likelihood-dequantised': ('flow-spline', 'likelihood', {}),
    'likelihood-importance_weighted': (
        'vae-bound', 'likelihood', {'estimator': 'importance_weighted', 'num_weights': 8}),
    'likelihood-diffusion': ('diffusion-denoising', 'likelihood', {'num_repeats': 2}),
    'likelihood-ode': ('diffusion-plane', 'likelihood', {'estimator': 'ode', 'num_steps': 8}),
    'true_divergence-exact': ('flow-affine', 'true_divergence', {}),
}
